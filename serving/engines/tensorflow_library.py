"""TensorFlow's C API (tensorflow/c/c_api.h), as far as a server needs it.

TensorFlow's Python package takes seconds and hundreds of megabytes to import, and while it builds its objects from a
SavedModel nothing else in the process runs: half a second for ResNet50 with explanations. The C API does the same work
with the interpreter free, and is what TensorFlow Serving's own loader lies behind. It has kept its form since 2016.
"""

import ctypes
import functools
import importlib.util
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from ctypes import POINTER, c_char_p, c_int, c_int64, c_size_t, c_void_p
from pathlib import Path
from typing import Any

_NAMES = {"darwin": "libtensorflow_cc.2.dylib"}
_NAME = "libtensorflow_cc.so.2"
_OK = 0

RELEASE = ctypes.CFUNCTYPE(None, c_void_p, c_size_t, c_void_p)
"""What TensorFlow calls, in any thread, when it no longer needs memory that was lent to it."""


class TensorFlowError(Exception):
    """What TensorFlow says went wrong.

    Attributes:
        code: As in gRPC.
        message: TensorFlow's own text.
    """

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


class Output(ctypes.Structure):
    """One output of an operation of a graph (`TF_Output`)."""

    _fields_ = (("operation", c_void_p), ("index", c_int))


class Buffer(ctypes.Structure):
    """Bytes that TensorFlow owns (`TF_Buffer`)."""

    _fields_ = (("data", c_void_p), ("length", c_size_t), ("release", c_void_p))


# Result and arguments of each function. A status is the last argument of those that may fail.
_FUNCTIONS: dict[str, tuple[Any, list[Any]]] = {
    "TF_Version": (c_char_p, []),
    "TF_NewStatus": (c_void_p, []),
    "TF_DeleteStatus": (None, [c_void_p]),
    "TF_GetCode": (c_int, [c_void_p]),
    "TF_Message": (c_char_p, [c_void_p]),
    "TF_NewBuffer": (POINTER(Buffer), []),
    "TF_DeleteBuffer": (None, [POINTER(Buffer)]),
    "TF_NewGraph": (c_void_p, []),
    "TF_DeleteGraph": (None, [c_void_p]),
    "TF_GraphOperationByName": (c_void_p, [c_void_p, c_char_p]),
    "TF_OperationNumOutputs": (c_int, [c_void_p]),
    "TF_OperationOutputType": (c_int, [Output]),
    "TF_NewSessionOptions": (c_void_p, []),
    "TF_DeleteSessionOptions": (None, [c_void_p]),
    "TF_SetConfig": (None, [c_void_p, c_char_p, c_size_t, c_void_p]),
    "TF_LoadSessionFromSavedModel": (
        c_void_p,
        [c_void_p, c_void_p, c_char_p, POINTER(c_char_p), c_int, c_void_p, POINTER(Buffer), c_void_p],
    ),
    "TF_CloseSession": (None, [c_void_p, c_void_p]),
    "TF_DeleteSession": (None, [c_void_p, c_void_p]),
    "TF_SessionListDevices": (c_void_p, [c_void_p, c_void_p]),
    "TF_DeviceListCount": (c_int, [c_void_p]),
    "TF_DeviceListName": (c_char_p, [c_void_p, c_int, c_void_p]),
    "TF_DeviceListType": (c_char_p, [c_void_p, c_int, c_void_p]),
    "TF_DeleteDeviceList": (None, [c_void_p]),
    "TF_SessionRun": (
        None,
        [
            *(c_void_p, c_void_p),
            *(POINTER(Output), POINTER(c_void_p), c_int),
            *(POINTER(Output), POINTER(c_void_p), c_int),
            *(c_void_p, c_int, c_void_p, c_void_p),
        ],
    ),
    "TF_AllocateTensor": (c_void_p, [c_int, POINTER(c_int64), c_int, c_size_t]),
    "TF_NewTensor": (c_void_p, [c_int, POINTER(c_int64), c_int, c_void_p, c_size_t, RELEASE, c_void_p]),
    "TF_DeleteTensor": (None, [c_void_p]),
    "TF_TensorType": (c_int, [c_void_p]),
    "TF_NumDims": (c_int, [c_void_p]),
    "TF_Dim": (c_int64, [c_void_p, c_int]),
    "TF_TensorByteSize": (c_size_t, [c_void_p]),
    "TF_TensorData": (c_void_p, [c_void_p]),
    "TF_StringInit": (None, [c_void_p]),
    "TF_StringCopy": (None, [c_void_p, c_char_p, c_size_t]),
    "TF_StringDealloc": (None, [c_void_p]),
    "TF_StringGetDataPointer": (c_void_p, [c_void_p]),
    "TF_StringGetSize": (c_size_t, [c_void_p]),
}


@functools.cache
def load_library() -> Any:
    """The functions of the C API by name; their calls let other threads of Python run.

    Raises:
        ImportError: TensorFlow isn't installed, or its library lies elsewhere.
    """
    spec = importlib.util.find_spec("tensorflow")  # finds the package without running it
    if spec is None or not spec.submodule_search_locations:
        raise ImportError("tensorflow", name="tensorflow")
    path = Path(spec.submodule_search_locations[0]) / _NAMES.get(sys.platform, _NAME)
    if not path.is_file():
        raise ImportError(
            f"TensorFlow's library must be {path}, as in the packages for Linux and macOS", name=str(path)
        )
    library = ctypes.CDLL(str(path))
    for name, (result, arguments) in _FUNCTIONS.items():
        function = getattr(library, name)
        function.restype, function.argtypes = result, arguments
    return library


@contextmanager
def raising() -> Iterator[c_void_p]:
    """A status for one call.

    Raises:
        TensorFlowError: The call said that it failed.
    """
    library = load_library()
    status = c_void_p(library.TF_NewStatus())
    try:
        yield status
        if library.TF_GetCode(status) != _OK:
            raise TensorFlowError(library.TF_GetCode(status), library.TF_Message(status).decode(errors="replace"))
    finally:
        library.TF_DeleteStatus(status)
