"""Large flat `data` straight from JSON text, for which no Python object is made for each number.

As `serving.rest.number_arrays` does for the other protocol. Whatever isn't plain, as nested lists, text or NaN, is left
to `serving.rest.v2.tensors`, which has the words for it.
"""

from typing import Any

import numpy as np

# Below this the ordinary way is as fast.
MIN_BYTES = 2048

# Datatypes that simdjson can copy numbers for, with its letter and the dtype that comes of it.
_FLOATS = ("d", np.float64)
_LETTERS = {
    **dict.fromkeys(("FP16", "FP32", "FP64"), _FLOATS),
    **dict.fromkeys(("INT8", "INT16", "INT32", "INT64", "UINT8", "UINT16", "UINT32"), ("i", np.int64)),
    "UINT64": ("u", np.uint64),
}


def read_document(content: bytes) -> dict[str, Any] | None:
    """Reads a request whose tensors are flat lists of numbers.

    Args:
        content: The JSON.

    Returns:
        The document as Python's objects, but each `data` a flat array of float64, int64 or uint64. None where it isn't
        as plain as that.
    """
    if len(content) < MIN_BYTES:
        return None
    import simdjson

    try:
        parsed = simdjson.Parser().parse(content)
        if not isinstance(parsed, simdjson.Object):
            return None
        document: Any = parsed  # its annotations say that any member may be of any kind
        fractions = b"." in content or b"e-" in content or b"E" in content or b"e+" in content
        tensors = [_tensor(entry, fractions=fractions) for entry in document["inputs"]]
        others = _plain(document, without="inputs")
    except (ValueError, TypeError, RuntimeError, KeyError, AttributeError, UnicodeDecodeError):
        return None  # what simdjson raises for all but plain numbers
    # Lists inside a list of numbers would have been joined: then there are more brackets than lists that are known.
    lists = 1 + sum(2 for _ in tensors) + _count_lists(others)
    return {**others, "inputs": tensors} if content.count(b"[") == lists else None


def _tensor(entry: Any, *, fractions: bool) -> dict[str, Any]:
    letter, dtype = _LETTERS[entry["datatype"]]
    if fractions and letter != _FLOATS[0]:
        raise ValueError
    data = np.frombuffer(entry["data"].as_buffer(of_type=letter), dtype)
    tensor = _plain(entry, without="data")
    if not isinstance(tensor.get("shape"), list):
        raise TypeError
    return {**tensor, "data": data}


def _plain(value: Any, *, without: str) -> dict[str, Any]:
    """An object's other members as Python's own, which outlive the parser."""
    keys = list(value.keys())
    if len(set(keys)) != len(keys):
        raise KeyError
    return {key: _member(value[key]) for key in keys if key != without}


def _member(value: Any) -> Any:
    for method in ("as_dict", "as_list"):
        if hasattr(value, method):
            return getattr(value, method)()
    return value


def _count_lists(value: Any) -> int:
    if isinstance(value, dict):
        return sum(_count_lists(member) for member in value.values())
    return 1 + sum(_count_lists(member) for member in value) if isinstance(value, list) else 0
