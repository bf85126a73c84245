"""TensorProto to NumPy and back, by TensorFlow's own rules."""

import math
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from serving.errors import Code, ServingError, invalid_argument
from serving.protos import types_pb2
from serving.protos.convert import data_type
from serving.protos.tensor_pb2 import TensorProto

if TYPE_CHECKING:
    import numpy.typing as npt

# NumPy's limits: of dimensions, of which TensorFlow has 254, and of elements, which it counts in bytes of an array that
# has none either.
MAX_RANK = 64
MAX_ELEMENTS = sys.maxsize // 16

# A message of a few bytes may ask for any number of copies of its last value. What fits into no message (they end at
# 2 GiB) is refused before it takes memory.
MAX_FILLED_BYTES = 1 << 28

type_name = types_pb2.DataType.Name


@dataclass(frozen=True)
class _Element:
    """How the elements of one type travel: `field` holds them as `wire`, whose bytes are viewed as `dtype`."""

    dtype: np.dtype
    field: str
    wire: np.dtype


def _element(dtype: "npt.DTypeLike", field: str, wire: "npt.DTypeLike | None" = None) -> _Element:
    return _Element(np.dtype(dtype), field, np.dtype(dtype if wire is None else wire))


_ELEMENTS: dict[int, _Element] = {
    types_pb2.DT_FLOAT: _element(np.float32, "float_val"),
    types_pb2.DT_DOUBLE: _element(np.float64, "double_val"),
    types_pb2.DT_HALF: _element(np.float16, "half_val", np.uint16),
    types_pb2.DT_INT8: _element(np.int8, "int_val"),
    types_pb2.DT_INT16: _element(np.int16, "int_val"),
    types_pb2.DT_INT32: _element(np.int32, "int_val"),
    types_pb2.DT_UINT8: _element(np.uint8, "int_val"),
    types_pb2.DT_UINT16: _element(np.uint16, "int_val"),
    types_pb2.DT_INT64: _element(np.int64, "int64_val"),
    types_pb2.DT_UINT32: _element(np.uint32, "uint32_val"),
    types_pb2.DT_UINT64: _element(np.uint64, "uint64_val"),
    types_pb2.DT_BOOL: _element(np.bool_, "bool_val"),
    types_pb2.DT_COMPLEX64: _element(np.complex64, "scomplex_val", np.float32),
    types_pb2.DT_COMPLEX128: _element(np.complex128, "dcomplex_val", np.float64),
}

# Quantized and other types that TensorFlow reads and NumPy has no array of. References, handles and numbers that stand
# for no type TensorFlow can't read either.
_WITHOUT_NUMPY = frozenset(
    number
    for name, number in types_pb2.DataType.items()
    if number not in _ELEMENTS
    and not name.endswith("_REF")
    and name not in {"DT_INVALID", "DT_RESOURCE", "DT_VARIANT", "DT_STRING", "DT_BFLOAT16"}
)

# Types whose typed field holds exactly the bytes of the array, behind a tag and a length: protobuf then copies them in
# one piece, 40 times faster than element by element. A bool is a varint of one byte.
_PACKED_AS_BYTES: dict[int, bytes] = {
    types_pb2.DT_FLOAT: b"\x2a",
    types_pb2.DT_DOUBLE: b"\x32",
    types_pb2.DT_COMPLEX64: b"\x4a",
    types_pb2.DT_BOOL: b"\x5a",
    types_pb2.DT_COMPLEX128: b"\x62",
}


def decode_tensor(proto: TensorProto, name: str) -> np.ndarray:
    """Reads a tensor as TensorFlow does.

    `tensor_content` is used where it is not empty, and viewed without a copy (such an array is read-only). Else the
    typed field: no value means zeros, fewer than the shape asks for repeat the last, more are left out. No shape is a
    scalar.

    Args:
        proto: The message.
        name: The input's name, for the error.

    Returns:
        The array; strings as `object` array of bytes.

    Raises:
        ServingError: INVALID_ARGUMENT `tensor parsing error: NAME` where TensorFlow can't read it either, UNIMPLEMENTED
            for types that NumPy lacks.
    """
    element = None if proto.dtype == types_pb2.DT_STRING else _find_element(proto.dtype, name)
    shape = _read_shape(proto, name)
    count = math.prod(shape)
    if count == 0:
        return np.zeros(shape, np.dtype(object) if element is None else element.dtype)
    if count * (8 if element is None else element.dtype.itemsize) > MAX_FILLED_BYTES:
        _refuse_filling(proto, element, count, name)
    if element is None:
        return _read_strings(proto, count, name).reshape(shape)
    if proto.tensor_content:
        return _read_content(proto.tensor_content, element, count, name).reshape(shape)
    return _read_field(proto, element, count).reshape(shape)


def encode_tensor(array: np.ndarray, proto: TensorProto, *, tensor_content: bool = False) -> None:
    """Writes an array into an empty message.

    Args:
        array: Any dtype that TensorFlow has; strings are `object` (bytes or str), `S` or `U`.
        proto: The message to fill.
        tensor_content: Write the bytes of the array instead of the typed field, which is what clients of TensorFlow
            Serving read by default.

    Raises:
        ServingError: UNIMPLEMENTED; TensorFlow has no such type.
    """
    number = data_type(array.dtype)
    proto.dtype = number
    proto.tensor_shape.SetInParent()  # a scalar has a shape too, without dimensions
    for size in array.shape:
        proto.tensor_shape.dim.add(size=size)
    if number == types_pb2.DT_STRING:
        _write_strings(array, proto, tensor_content=tensor_content)
    elif tensor_content:
        proto.tensor_content = _little_endian_bytes(array)
    elif number in _PACKED_AS_BYTES:
        content = _little_endian_bytes(array)
        if content:
            proto.MergeFromString(_PACKED_AS_BYTES[number] + _varint(len(content)) + content)
    else:
        element = _find_element(number, "")
        getattr(proto, element.field).extend(array.ravel().view(element.wire).tolist())


def _find_element(number: int, name: str) -> _Element:
    if number == types_pb2.DT_BFLOAT16:
        return _bfloat16()
    element = _ELEMENTS.get(number)
    if element is None and number not in _WITHOUT_NUMPY:
        raise _parsing_error(name)
    if element is None:
        raise ServingError(
            Code.UNIMPLEMENTED,
            f"Input '{name}': no array of type {type_name(number)} exists here. Expected one of "
            f"{', '.join(type_name(known) for known in _ELEMENTS)}, DT_STRING.",
        )
    return element


def _bfloat16() -> _Element:
    try:
        import ml_dtypes
    except ImportError as error:
        raise ServingError(
            Code.UNIMPLEMENTED,
            "DT_BFLOAT16 needs the package ml_dtypes, which this server lacks: install it, or send DT_FLOAT.",
        ) from error
    return _element(ml_dtypes.bfloat16, "half_val", np.uint16)


def _parsing_error(name: str) -> ServingError:
    return invalid_argument(f"tensor parsing error: {name}")


def _read_shape(proto: TensorProto, name: str) -> tuple[int, ...]:
    shape = tuple([dim.size for dim in proto.tensor_shape.dim])
    # Lists where generators would do: this is a part of every request.
    if len(shape) > MAX_RANK or min(shape, default=0) < 0 or math.prod([size or 1 for size in shape]) > MAX_ELEMENTS:
        raise _parsing_error(name)
    return shape


def _refuse_filling(proto: TensorProto, element: _Element | None, count: int, name: str) -> None:
    if not proto.tensor_content:
        field: Any = proto.string_val if element is None else getattr(proto, element.field)
        if len(field) < count:
            raise invalid_argument(
                f"Input '{name}' asks for {count} elements and brings {len(field)}: filling up the rest would take "
                f"more than {MAX_FILLED_BYTES} bytes. Send all values, or a smaller shape."
            )


def _read_content(content: bytes, element: _Element, count: int, name: str) -> np.ndarray:
    if len(content) != count * element.dtype.itemsize:
        raise _parsing_error(name)
    if element.dtype.kind == "b" and max(content) > 1:
        raise _parsing_error(name)
    return np.frombuffer(content, element.dtype)


def _read_field(proto: TensorProto, element: _Element, count: int) -> np.ndarray:
    # Protobuf lends its buffer to NumPy, so this is one copy.
    numbers = np.array(getattr(proto, element.field))
    if numbers.dtype == element.dtype and len(numbers) == count:  # as most are
        return numbers
    # Complex: two numbers an element; a lone last one is ignored.
    per_element = element.dtype.itemsize // element.wire.itemsize
    sent = len(numbers) // per_element
    values = numbers[: sent * per_element].astype(element.wire, copy=False).view(element.dtype)
    if sent >= count:
        return values[:count]
    filled = np.zeros(count, element.dtype)
    if sent:
        filled[:sent] = values
        filled[sent:] = values[-1]
    return filled


def _read_strings(proto: TensorProto, count: int, name: str) -> np.ndarray:
    sent: list[bytes] = (
        _split_strings(proto.tensor_content, count, name) if proto.tensor_content else list(proto.string_val)
    )
    values = np.empty(count, object)
    values[: len(sent)] = sent[:count]
    values[len(sent) :] = sent[-1] if sent else b""
    return values


def _split_strings(content: bytes, count: int, name: str) -> list[bytes]:
    """Strings in `tensor_content`: the varint lengths of all of them, then their bytes."""
    lengths, position = [], 0
    for _ in range(count):
        length, shift = 0, 0
        while True:
            if position >= len(content) or shift > 63:
                raise _parsing_error(name)
            byte = content[position]
            position += 1
            length |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                break
        lengths.append(length)
    if sum(lengths) != len(content) - position:
        raise _parsing_error(name)
    strings = []
    for length in lengths:
        strings.append(content[position : position + length])
        position += length
    return strings


def _write_strings(array: np.ndarray, proto: TensorProto, *, tensor_content: bool) -> None:
    strings = [value.encode() if isinstance(value, str) else value for value in array.ravel().tolist()]
    if tensor_content:
        proto.tensor_content = b"".join([*(_varint(len(value)) for value in strings), *strings])
    else:
        proto.string_val.extend(strings)


def _little_endian_bytes(array: np.ndarray) -> bytes:
    if sys.byteorder == "little" and array.dtype.isnative:
        return array.tobytes()
    return array.astype(array.dtype.newbyteorder("<")).tobytes()


def _varint(value: int) -> bytes:
    encoded = bytearray()
    while value > 0x7F:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)
