import json
from typing import Any

import numpy as np
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from serving.errors import Code, ServingError
from serving.inference_protocol.datatypes import DATATYPES, dtype_of, to_objects
from serving.rest.encode import encode_json
from serving.rest.v2.tensors import decode_data, encode_data
from tests.serving.inference_protocol.test_datatypes import SHAPES, outcome, same


@st.composite
def arrays(draw: st.DrawFn) -> np.ndarray:
    """Any datatype, any small shape, finite."""
    datatype, shape = draw(st.sampled_from(DATATYPES)), draw(SHAPES)
    if datatype == "BYTES":
        size = int(np.prod(shape))
        texts = draw(st.lists(st.text(max_size=3), min_size=size, max_size=size))
        return to_objects([text.encode() for text in texts], shape)
    dtype = dtype_of(datatype, "x")
    if datatype in ("FP16", "FP32", "FP64"):
        elements = st.floats(allow_nan=False, allow_infinity=False, width=dtype.itemsize * 8)
        return draw(hnp.arrays(dtype, shape, elements=elements))
    if datatype == "BF16":
        return draw(hnp.arrays(np.int8, shape)).astype(dtype)
    return draw(hnp.arrays(dtype, shape))


def decode(data: Any, datatype: str, shape: tuple[int, ...]) -> np.ndarray:
    return decode_data(data, dtype_of(datatype, "x"), shape, name="x", booleans=True)


@given(arrays(), st.booleans())
def test_every_array_survives_as_json_flat_and_nested(array: np.ndarray, nested: bool) -> None:
    data = orjson.loads(encode_json({"data": encode_data(array, "x")}))["data"]
    if nested and array.ndim:
        data = to_objects(data, array.shape).tolist() if data else np.empty(array.shape).tolist()
    decoded = decode_data(data, array.dtype, array.shape, name="x", booleans=array.dtype == bool)
    assert same(decoded, array)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=2),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=1), inner, max_size=2),
    max_leaves=8,
)


@given(JSON, st.sampled_from(DATATYPES), SHAPES)
def test_any_json_is_an_array_of_that_shape_or_refused(data: Any, datatype: str, shape: tuple[int, ...]) -> None:
    array, refused = outcome(lambda: decode(data, datatype, shape))
    if refused is not None:
        assert refused.code == Code.INVALID_ARGUMENT
        assert "Received" in refused.message
    else:
        assert array.shape == shape
        assert array.dtype == dtype_of(datatype, "x")


def test_nan_and_infinity_are_bare_tokens() -> None:
    written = encode_json({"data": encode_data(np.array([[np.nan, np.inf]], np.float32), "x")})
    assert written == b'{"data":[NaN,Infinity]}'
    assert np.isnan(decode(json.loads(written)["data"], "FP32", (2,))[0])


@pytest.mark.parametrize(
    ("data", "datatype", "shape", "text"),
    [
        ([1, 2], "FP32", (3,), r"'x' of shape \[3\] takes 3 values\. Received: 2"),
        (5, "FP32", (1,), "must be a list, flat or nested in row-major order. Received: 5"),
        ([[1], [2]], "FP32", (1, 2), r"nested as its shape \[1, 2\] is"),
        ([[1, 2], [3]], "FP32", (2, 2), "Received: lists of other lengths"),
        ([[1], "a"], "BYTES", (2, 1), "Received: lists of other lengths"),
        ([[1]], "FP32", (), "Received: lists of other lengths"),
        ([[1]], "FP32", (1,), r"must hold numbers\. Received: \[1\] \(a array\)"),
        ([1, True], "FP32", (2,), r"FP32 must hold numbers\. Received: true"),
        (["1"], "FP64", (1,), r'must hold numbers\. Received: "1" \(a string\)'),
        ([1], "BOOL", (1,), r"must hold true or false\. Received: 1 \(a number\)"),
        ([1], "BYTES", (1,), "must hold strings"),
        ([300], "UINT8", (1,), r"whole numbers from 0 to 255\. Received: 300"),
        ([-129, 1], "INT8", (2,), r"whole numbers from -128 to 127\. Received: -129"),
        ([-1], "UINT64", (1,), r"whole numbers from 0 to 18446744073709551615\. Received: -1"),
        ([2**63], "INT64", (1,), r"Received: 9223372036854775808"),
        ([1.5], "INT32", (1,), r"Received: 1\.5"),
        ([None], "FP32", (1,), r"Received: null"),
    ],
)
def test_wrong_data_is_named(data: Any, datatype: str, shape: tuple[int, ...], text: str) -> None:
    with pytest.raises(ServingError, match=text):
        decode(data, datatype, shape)


def test_bytes_that_are_no_text_need_binary_data() -> None:
    with pytest.raises(ServingError, match=r"Output 'y' holds bytes that are no text.*binary_data=true"):
        encode_data(np.array([b"\xff"], object), "y")
