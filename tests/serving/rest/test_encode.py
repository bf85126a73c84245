import json
import math

import numpy as np
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from serving.errors import Code, ServingError
from serving.rest.decode import Form
from serving.rest.encode import encode_json, encode_outputs, to_json, to_rows


def encoded(array: np.ndarray, name: str = "y") -> object:
    return json.loads(encode_json(to_json(array, name)))


@given(hnp.arrays(np.float32, hnp.array_shapes(min_dims=0, max_dims=3, min_side=0), elements=st.floats(width=32)))
@settings(deadline=None)
def test_every_float32_comes_back_the_same(array: np.ndarray) -> None:
    for value in (encoded(array), json.loads(encode_json(to_rows(array))) if array.ndim else encoded(array)):
        back = np.array(value, np.float32).reshape(array.shape)
        np.testing.assert_array_equal(back, array)


@given(hnp.arrays(np.float64, hnp.array_shapes(max_dims=3)))
@settings(deadline=None)
def test_every_float64_comes_back_the_same(array: np.ndarray) -> None:
    np.testing.assert_array_equal(np.array(encoded(array), np.float64), array)


@given(st.lists(st.sampled_from([1, 1, 2, 3]), max_size=5).map(tuple), st.booleans())
def test_dimensions_of_one_element_keep_their_lists(shape: tuple[int, ...], missing: bool) -> None:
    array = np.arange(math.prod(shape), dtype=np.float32).reshape(shape) + 0.5
    if missing:
        array.ravel()[-1] = math.inf
    assert encoded(array) == array.tolist()
    assert encode_json(to_json(array)) == json.dumps(array.tolist(), separators=(",", ":")).encode()
    if shape:
        assert json.loads(encode_json(to_rows(array))) == array.tolist()


def test_float32_is_written_with_its_shortest_digits() -> None:
    array = np.array([0.1, 0.2, 3, 1 / 3, 16777216], np.float32)
    assert encode_json(to_json(array)) == b"[0.1,0.2,3.0,0.33333334,16777216.0]"


def test_what_is_not_finite_is_a_bare_token() -> None:
    array = np.array([[math.nan, 1], [math.inf, -math.inf]], np.float32)
    assert encode_json(to_json(array)) == b"[[NaN,1.0],[Infinity,-Infinity]]"
    assert encode_json(to_rows(array)) == b"[[NaN,1.0],[Infinity,-Infinity]]"
    assert encode_json(to_json(np.float32(math.nan) * np.ones(()))) == b"NaN"


@pytest.mark.parametrize(
    "dtype", ["int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64", "bool", "float16"]
)
def test_every_type_is_written(dtype: str) -> None:
    array = np.array([[0, 1], [1, 0]]).astype(dtype)
    assert encoded(array) == array.tolist()
    assert encoded(array.T[:1]) == array.T[:1].tolist()  # not contiguous
    assert encoded(array.astype(array.dtype.newbyteorder(">"))) == array.tolist()
    assert encoded(array[0, 1]) == array[0, 1].item()


def test_bfloat16_is_written_as_numbers() -> None:
    import ml_dtypes

    assert encoded(np.array([1.5, -2], ml_dtypes.bfloat16)) == [1.5, -2.0]


def test_complex_numbers_are_refused_with_the_way_out() -> None:
    with pytest.raises(ServingError, match=r"tensor type: complex64 \(output 'y'\)\. Ask over gRPC") as caught:
        to_json(np.zeros(1, np.complex64), "y")
    assert caught.value.code is Code.INVALID_ARGUMENT


def test_strings_are_text_and_bytes_are_base64() -> None:
    array = np.array([b"a", "ä".encode(), b"\xff"], object)
    assert encoded(array) == ["a", "ä", {"b64": "/w=="}]
    assert encoded(array, "image_bytes") == [{"b64": "YQ=="}, {"b64": "w6Q="}, {"b64": "/w=="}]
    assert encoded(np.array(b"a", object)) == "a"


@pytest.mark.parametrize(
    ("outputs", "form", "expected"),
    [
        ({"y": [[1.0], [2.0]]}, Form.ROW, {"predictions": [[1.0], [2.0]]}),
        ({"y": [1.0, 2.0], "z": [[1], [2]]}, Form.ROW, {"predictions": [{"y": 1.0, "z": [1]}, {"y": 2.0, "z": [2]}]}),
        ({"y": np.zeros((0, 3))}, Form.ROW, {"predictions": []}),
        ({"y": 1.5}, Form.COLUMN, {"outputs": 1.5}),
        ({"y": [1.5], "z": 2}, Form.COLUMN, {"outputs": {"y": [1.5], "z": 2}}),
    ],
)
def test_outputs_stand_bare_or_under_their_names(outputs: dict, form: Form, expected: dict) -> None:
    arrays = {name: np.asarray(value) for name, value in outputs.items()}
    assert orjson.loads(encode_outputs(arrays, form)) == expected


def test_rows_of_several_outputs_keep_their_tokens() -> None:
    outputs = {"y": np.array([math.nan, 1]), "z": np.array([[1], [2]])}
    assert encode_outputs(outputs, Form.ROW) == b'{"predictions":[{"y":NaN,"z":[1]},{"y":1.0,"z":[2]}]}'


@pytest.mark.parametrize(
    ("outputs", "text"),
    [
        ({"y": np.float32(1)}, "Tensor name: y has no shape information "),
        ({"y": np.zeros(2), "s": np.zeros(1)}, "Tensor name: s has inconsistent batch size: 1 expecting: 2"),
    ],
)
def test_rows_need_a_common_batch(outputs: dict, text: str) -> None:
    with pytest.raises(ServingError) as caught:
        encode_outputs({name: np.asarray(value) for name, value in outputs.items()}, Form.ROW)
    assert caught.value.message == text
