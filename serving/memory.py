"""Memory that is free inside the process, given back to the machine."""

import ctypes
import functools
from collections.abc import Callable


def return_free_memory() -> None:
    """Gives back what the C library keeps for later; does nothing where it has no such function. Takes milliseconds.

    glibc returns freed memory by itself only from the top of each arena: after a model was unloaded, most of it lies
    below something small that is still in use.
    """
    trim = _malloc_trim()
    if trim is not None:
        trim(0)


@functools.cache
def _malloc_trim() -> Callable[[int], int] | None:
    function = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if function is not None:
        function.argtypes, function.restype = [ctypes.c_size_t], ctypes.c_int
    return function
