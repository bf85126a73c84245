"""Large arrays of numbers straight from JSON text, for which no Python object is made for each number.

Most of what a request with an image costs is its text: 18 to 27 ms for 224x224x3 through lists, 5 ms this way (simdjson
reads the numbers, and one comparison proves that the array is no ragged one). Whatever isn't plain, as text among the
numbers, NaN, a ragged array or broken JSON, is left to `serving.rest.decode`, which has the words for it.
"""

import math
from typing import Any

import numpy as np

# Below this the ordinary way is as fast.
MIN_BYTES = 2048
_KEYS = ("instances", "inputs")
# What numbers are written with, and white space: what is left is the array's skeleton.
_NUMBERS = b"0123456789.+-eE \t\r\n"
_MAX_RANK = 32
# simdjson's letters for the types that it can copy numbers as.
_AS_FLOATS, _AS_INTEGERS, _AS_UNSIGNED = "d", "i", "u"


def read_numbers(content: bytes) -> tuple[str, np.ndarray, dict[str, Any]] | None:
    """Reads a document whose `instances` or `inputs` is one array of numbers, nested to any depth.

    Args:
        content: The body of a request.

    Returns:
        The key; the array, int64 or uint64 where all numbers are integers and fit, else float64; and the document's
        other members. None where the document isn't as plain as that.
    """
    if len(content) < MIN_BYTES:
        return None
    import simdjson

    try:
        document = simdjson.Parser().parse(content)
        if not isinstance(document, simdjson.Object):
            return None
        keys = list(document.keys())
        found = [key for key in keys if key in _KEYS]
        if len(found) != 1 or len(set(keys)) != len(keys):
            return None
        array = document[found[0]]
        shape = _shape(array, simdjson.Array)
        if shape is None or not _is_regular(content, shape):
            return None
        numbers = _copy(array, integers=not _has_fractions(content))
        others = {key: _plain(document[key]) for key in keys if key != found[0]}
    except (ValueError, TypeError, RuntimeError, UnicodeDecodeError):  # what simdjson raises for all but plain numbers
        return None
    if numbers.size != math.prod(shape):  # the skeleton of an empty row is that of a row with one number
        return None
    return found[0], numbers.reshape(shape), others


def _shape(array: Any, kind: type) -> tuple[int, ...] | None:
    """The shape that the first element at each level gives; None where there is no element."""
    shape: list[int] = []
    while isinstance(array, kind):
        elements: Any = array
        shape.append(len(elements))
        if not shape[-1] or len(shape) > _MAX_RANK:
            return None
        array = elements[0]
    return tuple(shape) or None


def _is_regular(content: bytes, shape: tuple[int, ...]) -> bool:
    """Whether brackets and commas stand where an array of this shape has them, and no bracket anywhere else."""
    skeleton = content.translate(None, _NUMBERS)
    pattern = b"[" + b"," * (shape[-1] - 1) + b"]"
    for size in reversed(shape[:-1]):
        pattern = b"[" + b",".join([pattern] * size) + b"]"
    start = skeleton.find(b"[")
    return skeleton.startswith(pattern, start) and skeleton.find(b"[", start + len(pattern)) < 0


def _has_fractions(content: bytes) -> bool:
    """Whether a number may be written with a point or an exponent; a key with such a letter costs no more than time."""
    return b"." in content or b"e-" in content or b"E" in content or b"e+" in content


def _copy(array: Any, *, integers: bool) -> np.ndarray:
    if integers:
        for letter, dtype in ((_AS_INTEGERS, np.int64), (_AS_UNSIGNED, np.uint64)):
            try:
                return np.frombuffer(array.as_buffer(of_type=letter), dtype)
            except (ValueError, TypeError):
                continue
    return np.frombuffer(array.as_buffer(of_type=_AS_FLOATS), np.float64)


def _plain(value: Any) -> Any:
    """A member as Python's own objects, which outlive the parser."""
    for method in ("as_dict", "as_list"):
        if hasattr(value, method):
            return getattr(value, method)()
    return value
