from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from serving.errors import Code, ServingError
from serving.inference_protocol.datatypes import (
    DATATYPES,
    datatype_of,
    decode_raw,
    dtype_of,
    encode_raw,
    read_shape,
    to_objects,
)

SHAPES = hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=4)


@st.composite
def arrays(draw: st.DrawFn) -> np.ndarray:
    """Any datatype, any small shape."""
    datatype, shape = draw(st.sampled_from(DATATYPES)), draw(SHAPES)
    if datatype == "BYTES":
        size = int(np.prod(shape))
        return to_objects(draw(st.lists(st.binary(max_size=5), min_size=size, max_size=size)), shape)
    if datatype == "BF16":
        return draw(hnp.arrays(np.uint16, shape)).view(dtype_of("BF16", "x"))
    return draw(hnp.arrays(dtype_of(datatype, "x"), shape))


def outcome(call: Callable[[], Any]) -> tuple[Any, ServingError | None]:
    """What a call gave, or how it was refused."""
    try:
        return call(), None
    except ServingError as error:
        return None, error


def same(one: np.ndarray, other: np.ndarray) -> bool:
    """Equal shapes, types and bits."""
    if one.shape != other.shape or one.dtype != other.dtype:
        return False
    return one.tolist() == other.tolist() if one.dtype == object else one.tobytes() == other.tobytes()


@given(arrays())
def test_every_array_survives_as_bytes(array: np.ndarray) -> None:
    content = encode_raw(array)
    dtype = dtype_of(datatype_of(array.dtype, "x"), "x")
    assert same(decode_raw(content, dtype, array.shape, "x"), array)
    # behind a header of any length
    shifted = memoryview(b"#" + content)[1:]
    decoded = decode_raw(shifted, dtype, array.shape, "x")
    assert same(decoded, array)
    assert decoded.flags.aligned


@given(st.binary(max_size=40), st.sampled_from(DATATYPES), SHAPES)
def test_any_bytes_are_an_array_or_refused(content: bytes, datatype: str, shape: tuple[int, ...]) -> None:
    array, refused = outcome(lambda: decode_raw(content, dtype_of(datatype, "x"), shape, "x"))
    if refused is None:
        assert encode_raw(array) == content
    else:
        assert refused.code == Code.INVALID_ARGUMENT
        assert "Received" in refused.message


def test_bytes_are_little_endian_and_strings_behind_their_lengths() -> None:
    assert encode_raw(np.array([1, 258], np.int16)) == b"\x01\x00\x02\x01"
    assert encode_raw(np.array([1, 258], ">i2")) == b"\x01\x00\x02\x01"
    assert encode_raw(np.array([b"ab", "ö"], object)) == b"\x02\x00\x00\x00ab\x02\x00\x00\x00\xc3\xb6"
    assert encode_raw(np.array(["a"])) == b"\x01\x00\x00\x00a"


def test_no_copy_is_made_of_aligned_bytes() -> None:
    content = np.arange(8, dtype=np.float32).tobytes()
    decoded = decode_raw(content, np.dtype(np.float32), (2, 4), "x")
    assert decoded.__array_interface__["data"][0] == np.frombuffer(content, np.uint8).__array_interface__["data"][0]


@pytest.mark.parametrize(
    ("datatype", "text"),
    [("FLOAT", r"must be one of BOOL.*BF16\. Received: 'FLOAT'"), (3, "Received: '3'"), (None, "Received: 'None'")],
)
def test_unknown_datatypes_are_refused(datatype: object, text: str) -> None:
    with pytest.raises(ServingError, match=text) as caught:
        dtype_of(datatype, "x")
    assert caught.value.code == Code.INVALID_ARGUMENT


def test_types_that_the_protocol_lacks_are_refused() -> None:
    with pytest.raises(
        ServingError, match="'x' is of type complex64, which the Open Inference Protocol lacks"
    ) as caught:
        datatype_of(np.dtype(np.complex64), "x")
    assert caught.value.code == Code.UNIMPLEMENTED


@pytest.mark.parametrize("shape", [[-1], [1.0], [True], ["1"], [None], [1] * 65, [2**40, 2**40], [0, 2**60]])
def test_shapes_that_no_array_has_are_refused(shape: list[object]) -> None:
    with pytest.raises(ServingError, match="The shape of input 'x' must"):
        read_shape(shape, "x")


@pytest.mark.parametrize(
    ("content", "datatype", "shape", "text"),
    [
        (b"\x00\x02", "BOOL", (2,), "must hold bytes of 0 and 1"),
        (b"\x00" * 5, "FP32", (1,), r"'x' of datatype FP32 and shape \[1\] takes 4 bytes\. Received: 5 bytes"),
        (
            b"\x05\x00\x00\x00ab",
            "BYTES",
            (1,),
            "must hold 1 strings.*Received: 6 bytes that are not that, from byte 0 on",
        ),
        (b"\x00\x00\x00\x00" * 3, "BYTES", (2,), "must hold 2 strings"),
        (b"\x00\x00\x00\x00", "BYTES", (2,), "must hold 2 strings"),
    ],
)
def test_wrong_bytes_are_refused(content: bytes, datatype: str, shape: tuple[int, ...], text: str) -> None:
    with pytest.raises(ServingError, match=text):
        decode_raw(content, dtype_of(datatype, "x"), shape, "x")
