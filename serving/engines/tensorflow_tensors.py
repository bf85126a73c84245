"""NumPy's arrays as TensorFlow's tensors, and back; both copy."""

import ctypes
from collections.abc import Sequence

import numpy as np

from serving.engines.tensorflow_library import RELEASE, load_library
from serving.protos import types_pb2
from serving.protos.convert import DATA_TYPES, data_type

_REFERENCE = 100
"""What the number of a reference to a variable has over that of its type."""
_TEXT_BYTES = 24
"""The size of a `TF_TString`."""
_NAMES = {number: name for name, number in DATA_TYPES.items()}

_memory = ctypes.pythonapi.PyMemoryView_FromMemory
_memory.restype, _memory.argtypes = ctypes.py_object, [ctypes.c_void_p, ctypes.c_ssize_t, ctypes.c_int]
_READ, _WRITE = 0x100, 0x200  # PyBUF_READ, PyBUF_WRITE

# Memory of strings that TensorFlow still reads, by address: a graph may keep a tensor beyond the run.
_lent: dict[int, ctypes.Array[ctypes.c_char]] = {}


def numpy_dtype(number: int) -> np.dtype | None:
    """NumPy's dtype for TensorFlow's number, of a type or of a reference to it; None: there is none."""
    name = _NAMES.get(number - _REFERENCE if number > _REFERENCE else number)  # type: ignore[call-overload]
    if name == "bfloat16":
        import ml_dtypes  # TensorFlow needs it too

        return np.dtype(ml_dtypes.bfloat16)
    return None if name is None else np.dtype(name)


def to_tensor(array: np.ndarray) -> int:
    """A new tensor with the values of an array; strings are an object array of `bytes`.

    Raises:
        ServingError: UNIMPLEMENTED; TensorFlow has no such dtype.
    """
    number, library = data_type(array.dtype), load_library()
    if number == types_pb2.DT_STRING:
        return _texts_to_tensor(array)
    tensor: int = library.TF_AllocateTensor(number, _sizes(array.shape), array.ndim, array.nbytes)
    if array.nbytes:
        memory = _memory(library.TF_TensorData(tensor), array.nbytes, _WRITE)
        np.ndarray(array.shape, array.dtype, memory)[...] = array
    return tensor


def to_array(tensor: int) -> np.ndarray:
    """A new array with the values of a tensor.

    Raises:
        TypeError: NumPy has no array of its type.
    """
    library = load_library()
    number = library.TF_TensorType(tensor)
    dtype = numpy_dtype(number)
    if dtype is None:
        raise TypeError(f"A tensor must be of a type that NumPy has. Received: {type_name(number)}.")
    shape = tuple([library.TF_Dim(tensor, axis) for axis in range(library.TF_NumDims(tensor))])
    size, address = library.TF_TensorByteSize(tensor), library.TF_TensorData(tensor)
    if dtype.hasobject:
        array = np.empty(shape, dtype)
        array.reshape(-1)[:] = _read_texts(address, array.size)
        return array
    return np.ndarray(shape, dtype, _memory(address, size, _READ)).copy() if size else np.empty(shape, dtype)


def type_name(number: int) -> str:
    """TensorFlow's name of a type, `DT_FLOAT` for one."""
    return types_pb2.DataType.Name(number) if number in types_pb2.DataType.values() else str(number)


def _sizes(shape: tuple[int, ...]) -> ctypes.Array[ctypes.c_int64]:
    return (ctypes.c_int64 * len(shape))(*shape)


def _texts_to_tensor(array: np.ndarray) -> int:
    library = load_library()
    memory = ctypes.create_string_buffer(max(array.size * _TEXT_BYTES, 1))
    address, size = ctypes.addressof(memory), array.size * _TEXT_BYTES
    for place, item in zip(range(address, address + size, _TEXT_BYTES), array.flat, strict=True):
        text = item if isinstance(item, bytes) else str(item).encode()
        library.TF_StringInit(place)
        library.TF_StringCopy(place, text, len(text))
    _lent[address] = memory
    tensor: int = library.TF_NewTensor(
        types_pb2.DT_STRING, _sizes(array.shape), array.ndim, address, size, _release_texts, None
    )
    return tensor


def _read_texts(address: int | None, count: int) -> Sequence[bytes]:
    library, start = load_library(), address or 0
    places = range(start, start + count * _TEXT_BYTES, _TEXT_BYTES)
    return [
        ctypes.string_at(library.TF_StringGetDataPointer(place), library.TF_StringGetSize(place)) for place in places
    ]


def _release(address: int, size: int, _argument: int | None) -> None:
    library = load_library()
    for place in range(address, address + size, _TEXT_BYTES):
        library.TF_StringDealloc(place)
    del _lent[address]


_release_texts = RELEASE(_release)
