import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from serving.errors import Code, ServingError
from serving.grpc.tensors import MAX_FILLED_BYTES, decode_tensor, encode_tensor
from serving.protos import types_pb2
from serving.protos.tensor_pb2 import TensorProto

NUMBERS = (
    "float16",
    "float32",
    "float64",
    "int8",
    "int16",
    "int32",
    "int64",
    "uint8",
    "uint16",
    "uint32",
    "uint64",
    "bool",
)
SHAPES = hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=4)


def tensor(dtype: int, shape: tuple[int, ...], **values: object) -> TensorProto:
    return TensorProto(dtype=dtype, tensor_shape={"dim": [{"size": size} for size in shape]}, **values)


@given(st.data(), st.sampled_from([*NUMBERS, "complex64", "complex128"]), st.booleans())
@settings(deadline=None)
def test_every_dtype_survives_the_way_there_and_back(data: st.DataObject, dtype: str, tensor_content: bool) -> None:
    array = data.draw(hnp.arrays(np.dtype(dtype), SHAPES))
    message = TensorProto()
    encode_tensor(array, message, tensor_content=tensor_content)
    decoded = decode_tensor(TensorProto.FromString(message.SerializeToString()), "x")
    assert decoded.dtype == array.dtype
    assert decoded.shape == array.shape
    assert decoded.tobytes() == array.tobytes()  # NaN and its bits too


@given(hnp.arrays(object, SHAPES, elements=st.binary(max_size=300)), st.booleans())
@settings(deadline=None)
def test_strings_survive_the_way_there_and_back(array: np.ndarray, tensor_content: bool) -> None:
    message = TensorProto()
    encode_tensor(array, message, tensor_content=tensor_content)
    decoded = decode_tensor(message, "x")
    assert decoded.shape == array.shape
    assert decoded.tolist() == array.tolist()


def test_text_is_sent_in_utf_8() -> None:
    message = TensorProto()
    encode_tensor(np.array(["ä", "b"]), message)
    assert list(message.string_val) == ["ä".encode(), b"b"]


@pytest.mark.parametrize("order", ["C", "F"])
def test_a_transposed_array_is_sent_in_its_own_order(order: str) -> None:
    array = np.arange(6, dtype=np.float32).reshape(2, 3).copy(order)
    message = TensorProto()
    encode_tensor(array, message)
    assert list(message.float_val) == [0, 1, 2, 3, 4, 5]
    encode_tensor(array.T, cut := TensorProto(), tensor_content=True)
    assert np.array_equal(decode_tensor(cut, "x"), array.T)


def test_big_endian_arrays_arrive_as_the_same_numbers() -> None:
    message = TensorProto()
    encode_tensor(np.array([1.5, -2.0], ">f4"), message)
    assert list(message.float_val) == [1.5, -2.0]


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        # no shape: a scalar, which is what TensorFlow Serving's own manual client sends
        (TensorProto(dtype=types_pb2.DT_FLOAT, float_val=[2.5]), np.float32(2.5)),
        # no value: zeros
        (tensor(types_pb2.DT_INT32, (2, 2)), np.zeros((2, 2), np.int32)),
        (tensor(types_pb2.DT_STRING, (2,)), np.array([b"", b""], object)),
        # fewer than the shape asks for: the last is repeated
        (tensor(types_pb2.DT_FLOAT, (4,), float_val=[1, 2]), np.array([1, 2, 2, 2], np.float32)),
        (tensor(types_pb2.DT_STRING, (3,), string_val=[b"a", b"b"]), np.array([b"a", b"b", b"b"], object)),
        # more: the rest is ignored
        (tensor(types_pb2.DT_INT64, (1,), int64_val=[7, 8, 9]), np.array([7], np.int64)),
        # no element
        (tensor(types_pb2.DT_DOUBLE, (0, 3), double_val=[1]), np.zeros((0, 3))),
        # the bits of a float16: 0x3c00 is 1, 0xc000 is -2
        (tensor(types_pb2.DT_HALF, (2,), half_val=[0x3C00, 0xC000]), np.array([1, -2], np.float16)),
        # int_val holds the narrow integers; 300 is 44 in 8 bits
        (tensor(types_pb2.DT_UINT8, (2,), int_val=[255, 300]), np.array([255, 44], np.uint8)),
        # complex numbers are pairs, and a lone last number is no number
        (tensor(types_pb2.DT_COMPLEX64, (2,), scomplex_val=[1, 2, 3]), np.array([1 + 2j, 1 + 2j], np.complex64)),
        # tensor_content goes before the typed field
        (
            tensor(types_pb2.DT_FLOAT, (1,), float_val=[5], tensor_content=np.float32(3).tobytes()),
            np.array([3], np.float32),
        ),
    ],
)
def test_tensorflow_s_decoding_rules_hold(message: TensorProto, expected: np.ndarray) -> None:
    decoded = decode_tensor(message, "x")
    assert decoded.dtype == expected.dtype
    assert decoded.shape == expected.shape
    assert decoded.tolist() == expected.tolist()


@pytest.mark.parametrize(
    "message",
    [
        tensor(types_pb2.DT_INVALID, (1,)),
        tensor(types_pb2.DT_RESOURCE, (1,)),
        tensor(types_pb2.DT_FLOAT, (-1,), float_val=[1]),
        tensor(types_pb2.DT_FLOAT, (2**62, 2**62), float_val=[1]),
        tensor(types_pb2.DT_FLOAT, (0, 2**62)),
        tensor(types_pb2.DT_COMPLEX128, (2**59, 0)),
        tensor(types_pb2.DT_STRING, (0, 2**60)),
        tensor(types_pb2.DT_FLOAT, (1,) * 65, float_val=[1]),
        tensor(types_pb2.DT_FLOAT, (2,), tensor_content=b"1234"),
        tensor(types_pb2.DT_BOOL, (1,), tensor_content=b"\x02"),
        tensor(types_pb2.DT_STRING, (2,), tensor_content=b"\x01"),
        tensor(types_pb2.DT_STRING, (1,), tensor_content=b"\xff" * 12),
        tensor(types_pb2.DT_STRING, (1,), tensor_content=b"\x05abc"),
    ],
)
def test_what_tensorflow_cannot_read_is_refused_in_its_words(message: TensorProto) -> None:
    with pytest.raises(ServingError, match=r"^tensor parsing error: pixels$") as caught:
        decode_tensor(message, "pixels")
    assert caught.value.code is Code.INVALID_ARGUMENT


@pytest.mark.parametrize("dtype", [types_pb2.DT_FLOAT, types_pb2.DT_STRING])
def test_a_small_message_cannot_ask_for_all_memory(dtype: int) -> None:
    with pytest.raises(ServingError, match=rf"brings 0: filling up the rest would take more than {MAX_FILLED_BYTES}"):
        decode_tensor(tensor(dtype, (2**40,)), "x")


def test_types_that_numpy_lacks_are_named() -> None:
    with pytest.raises(
        ServingError, match=r"Input 'x': no array of type DT_QINT8 exists here\. Expected one of DT_FLOAT"
    ):
        decode_tensor(tensor(types_pb2.DT_QINT8, (1,), int_val=[1]), "x")


@pytest.mark.parametrize("number", [b"\xe7\x07", b"\x65", b"\x14"], ids=["no type", "a reference", "a handle"])
def test_what_is_no_type_of_a_value_is_no_tensor(number: bytes) -> None:
    with pytest.raises(ServingError, match="tensor parsing error: x") as caught:
        decode_tensor(TensorProto.FromString(b"\x08" + number), "x")
    assert caught.value.code is Code.INVALID_ARGUMENT


def test_bfloat16_is_read_from_its_bits() -> None:
    decoded = decode_tensor(tensor(types_pb2.DT_BFLOAT16, (2,), half_val=[0x3F80, 0xC000]), "x")
    assert decoded.dtype.name == "bfloat16"
    assert decoded.astype(np.float32).tolist() == [1.0, -2.0]


def test_tensor_content_is_not_copied() -> None:
    content = np.arange(1000, dtype=np.float32).tobytes()
    decoded = decode_tensor(tensor(types_pb2.DT_FLOAT, (1000,), tensor_content=content), "x")
    assert not decoded.flags.owndata
    assert not decoded.flags.writeable


@given(st.binary(max_size=200))
@settings(deadline=None, max_examples=300)
def test_any_bytes_give_a_tensor_or_a_serving_error(content: bytes) -> None:
    from google.protobuf.message import DecodeError

    try:
        message = TensorProto.FromString(content)
    except DecodeError:
        return
    try:
        decode_tensor(message, "x")
    except ServingError:
        return
