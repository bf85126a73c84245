"""The protocol's datatypes, and tensors as bytes: elements in C order, little-endian, strings behind their lengths.

The binary extension of REST and the raw contents of gRPC are the same bytes.
"""

import math
import struct
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from serving.errors import Code, ServingError, invalid_argument

BYTES, BF16 = "BYTES", "BF16"

# NumPy's limits: of dimensions, and of elements, which it counts in bytes of an array that has none either.
MAX_RANK = 64
MAX_ELEMENTS = sys.maxsize // 8

_DTYPES: Mapping[str, np.dtype] = {
    "BOOL": np.dtype(np.bool_),
    "UINT8": np.dtype(np.uint8),
    "UINT16": np.dtype(np.uint16),
    "UINT32": np.dtype(np.uint32),
    "UINT64": np.dtype(np.uint64),
    "INT8": np.dtype(np.int8),
    "INT16": np.dtype(np.int16),
    "INT32": np.dtype(np.int32),
    "INT64": np.dtype(np.int64),
    "FP16": np.dtype(np.float16),
    "FP32": np.dtype(np.float32),
    "FP64": np.dtype(np.float64),
    BYTES: np.dtype(object),
}
_NAMES = {dtype: name for name, dtype in _DTYPES.items()}

DATATYPES = (*_DTYPES, BF16)

# A string is its length in four bytes, then itself.
_LENGTH = struct.Struct("<I")


def datatype_of(dtype: np.dtype, name: str) -> str:
    """The protocol's name of a dtype, as `FP32`; strings are `BYTES`.

    Args:
        dtype: NumPy's dtype; `object` for strings.
        name: The tensor's name, for the error.

    Raises:
        ServingError: UNIMPLEMENTED; the protocol has no such type.
    """
    known = _NAMES.get(dtype)
    if known is not None:
        return known
    if dtype.kind in "SU":
        return BYTES
    if dtype.name == "bfloat16":
        return BF16
    raise ServingError(
        Code.UNIMPLEMENTED,
        f"Tensor {name!r} is of type {dtype}, which the Open Inference Protocol lacks. It has {', '.join(DATATYPES)}. "
        "Ask PredictionService.Predict over gRPC, which has every type.",
    )


def dtype_of(datatype: Any, name: str) -> np.dtype:
    """NumPy's dtype of a datatype; `object` for `BYTES`.

    Args:
        datatype: What the request says.
        name: The tensor's name, for the error.

    Raises:
        ServingError: INVALID_ARGUMENT; there is no such datatype. UNIMPLEMENTED: BF16 without the package for it.
    """
    known = _DTYPES.get(datatype) if isinstance(datatype, str) else None
    if known is not None:
        return known
    if datatype == BF16:
        return _bfloat16(name)
    raise invalid_argument(
        f"The datatype of input {name!r} must be one of {', '.join(DATATYPES)}. Received: {str(datatype)[:40]!r}."
    )


def read_shape(shape: Sequence[Any], name: str) -> tuple[int, ...]:
    """The shape of a tensor that was sent.

    Raises:
        ServingError: INVALID_ARGUMENT; not a list of whole numbers of at least 0, or too large a one for an array.
    """
    if not all(isinstance(size, int) and not isinstance(size, bool) and size >= 0 for size in shape):
        raise invalid_argument(
            f"The shape of input {name!r} must hold whole numbers of at least 0. Received: {str(list(shape))[:80]}."
        )
    if len(shape) > MAX_RANK or math.prod(size or 1 for size in shape) > MAX_ELEMENTS:
        raise invalid_argument(
            f"The shape of input {name!r} must have at most {MAX_RANK} dimensions and be that of an array that fits "
            f"into memory. Received: {str(list(shape))[:80]}."
        )
    return tuple(shape)


def decode_raw(content: bytes | memoryview, dtype: np.dtype, shape: tuple[int, ...], name: str) -> np.ndarray:
    """Bytes to an array, viewed without a copy where they are aligned (such an array is read-only).

    Args:
        content: The bytes.
        dtype: Of the elements; `object`: strings.
        shape: Of the array.
        name: The tensor's name, for the error.

    Raises:
        ServingError: INVALID_ARGUMENT; the bytes are more or fewer than the shape asks for, or no booleans.
    """
    count = math.prod(shape)
    if dtype.kind == "O":
        return _decode_strings(content, count, name).reshape(shape)
    if len(content) != count * dtype.itemsize:
        raise invalid_argument(
            f"Input {name!r} of datatype {datatype_of(dtype, name)} and shape {list(shape)} takes "
            f"{count * dtype.itemsize} bytes. Received: {len(content)} bytes."
        )
    if dtype.kind == "b" and count and int(np.frombuffer(content, np.uint8).max()) > 1:
        raise invalid_argument(f"Input {name!r} of datatype BOOL must hold bytes of 0 and 1. Received: a larger one.")
    array = np.frombuffer(content, dtype.newbyteorder("<")).reshape(shape)
    # Engines may rely on it; behind a JSON header of any length the tensor begins anywhere.
    aligned = array if array.flags.aligned else array.copy()
    return aligned.astype(dtype, copy=False)


def encode_raw(array: np.ndarray) -> bytes:
    """An array as bytes."""
    if array.dtype.kind in "OSU":
        strings = as_strings(array)
        return b"".join([part for value in strings for part in (_LENGTH.pack(len(value)), value)])
    if sys.byteorder == "little" and array.dtype.isnative:
        return array.tobytes()
    return array.astype(array.dtype.newbyteorder("<")).tobytes()


def as_strings(array: np.ndarray) -> list[bytes]:
    """The elements of an array of strings, in C order."""
    return [value.encode() if isinstance(value, str) else bytes(value) for value in array.ravel().tolist()]


def to_objects(values: Sequence[Any], shape: tuple[int, ...]) -> np.ndarray:
    """Python objects as an array: NumPy by itself would make text of bytes, and dimensions of sequences."""
    array = np.empty(len(values), object)
    array[:] = values
    return array.reshape(shape)


def _decode_strings(content: bytes | memoryview, count: int, name: str) -> np.ndarray:
    strings: list[bytes] = []
    position, end = 0, len(content)
    while position + _LENGTH.size <= end and len(strings) <= count:
        (length,) = _LENGTH.unpack_from(content, position)
        start = position + _LENGTH.size
        if start + length > end:
            break
        strings.append(bytes(content[start : start + length]))
        position = start + length
    if position != end or len(strings) != count:
        raise invalid_argument(
            f"Input {name!r} of datatype BYTES must hold {count} strings, each behind its length in 4 bytes "
            f"(little-endian). Received: {end} bytes that are not that, from byte {position} on."
        )
    return to_objects(strings, (count,))


def _bfloat16(name: str) -> np.dtype:
    try:
        import ml_dtypes
    except ImportError as error:
        raise ServingError(
            Code.UNIMPLEMENTED,
            f"Input {name!r}: BF16 needs the package ml_dtypes, which this server lacks: install it, or send FP32.",
        ) from error
    return np.dtype(ml_dtypes.bfloat16)
