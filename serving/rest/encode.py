"""Arrays to JSON: shortest digits that give the same float32 back, and NaN and infinity as bare tokens."""

import base64
from collections.abc import Mapping
from typing import Any

import numpy as np
import orjson

from serving.dtypes import name_dtype
from serving.errors import invalid_argument
from serving.rest.decode import Form

_OPTIONS = orjson.OPT_SERIALIZE_NUMPY


def encode_json(value: Any) -> bytes:
    """A reply as JSON; arrays in it go through `to_json` first."""
    return orjson.dumps(value, option=_OPTIONS)


def encode_outputs(outputs: Mapping[str, np.ndarray], form: Form, extra: Mapping[str, Any] | None = None) -> bytes:
    """The reply of `:predict`.

    Args:
        outputs: The arrays by name; one stands bare, several under their names.
        form: Row form (a list of instances under `predictions`) or column form (under `outputs`).
        extra: More members of the reply.

    Raises:
        ServingError: INVALID_ARGUMENT; the outputs have no common first dimension, or a type that JSON lacks.
    """
    return encode_json({form.value: shape_outputs(outputs, form), **(extra or {})})


def shape_outputs(outputs: Mapping[str, np.ndarray], form: Form) -> Any:
    """The outputs in row or column form, ready for `encode_json`."""
    if form is Form.COLUMN:
        columns = {name: to_json(array, name) for name, array in outputs.items()}
        return columns if len(columns) > 1 else next(iter(columns.values()))
    batch = _batch_size(outputs)
    if len(outputs) == 1:
        ((name, array),) = outputs.items()
        return to_json(array, name)
    rows = {name: to_rows(array, name) for name, array in outputs.items()}
    return [{name: row[index] for name, row in rows.items()} for index in range(batch)]


def to_json(array: np.ndarray, name: str = "") -> Any:
    """One array as something that orjson writes.

    Args:
        array: Any shape.
        name: The output's name: strings are written as `{"b64": ...}` where it ends in `_bytes`.

    Raises:
        ServingError: INVALID_ARGUMENT; JSON has nothing for the type.
    """
    array = _writable(array, name)
    if array.dtype.kind == "O":
        return array.tolist()
    ones = _trailing_ones(array)
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        return orjson.Fragment(_in_brackets(_with_tokens(_without_last(array, ones)), ones))
    if ones:
        return orjson.Fragment(_in_brackets(encode_json(_without_last(array, ones)), ones))
    return array if array.ndim else array[()]


def to_rows(array: np.ndarray, name: str = "") -> list[Any]:
    """The elements along the first dimension, each as something that orjson writes."""
    array = _writable(array, name)
    if (array.ndim > 2 and _trailing_ones(array[:1])) or (array.dtype.kind == "f" and not np.isfinite(array).all()):
        return [to_json(np.asarray(row)) for row in array]
    return array.tolist() if array.dtype.kind == "O" else list(array)


def _batch_size(outputs: Mapping[str, np.ndarray]) -> int:
    batch = -1
    for name, array in outputs.items():
        if array.ndim == 0:
            raise invalid_argument(f"Tensor name: {name} has no shape information ")
        if batch not in (-1, array.shape[0]):
            raise invalid_argument(
                f"Tensor name: {name} has inconsistent batch size: {array.shape[0]} expecting: {batch}"
            )
        batch = array.shape[0]
    return batch


def _writable(array: np.ndarray, name: str) -> np.ndarray:
    """The array as orjson takes it: contiguous, native, of a type that JSON has; strings as an `object` array."""
    if array.dtype.kind in "OSU":
        in_base64 = name.endswith("_bytes")
        strings = np.empty(array.shape, object)
        strings.ravel()[:] = [_string(value, in_base64=in_base64) for value in array.ravel().tolist()]
        return strings
    if array.dtype.kind == "V" and array.dtype.name == "bfloat16":
        array = array.astype(np.float32)
    if array.dtype.kind not in "fiub" or array.dtype.itemsize > 8:
        raise invalid_argument(
            f"Failed to write JSON value for tensor type: {name_dtype(array.dtype)} (output '{name}'). "
            "Ask over gRPC, which has every type."
        )
    if array.dtype.isnative and array.flags.c_contiguous:
        return array
    return array.astype(array.dtype.newbyteorder("="), order="C")


def _string(value: Any, *, in_base64: bool) -> Any:
    """A string, or its base64 form where it is asked for or no text."""
    content = value.encode() if isinstance(value, str) else bytes(value)
    if not in_base64:
        try:
            return content.decode()
        except UnicodeDecodeError:
            pass
    return {"b64": base64.b64encode(content).decode()}


def _trailing_ones(array: np.ndarray) -> int:
    """How many of the last dimensions, the first not among them, have one element, as the channel of a grey image."""
    if not array.size or array.dtype.kind == "O":
        return 0
    return next((count for count, size in enumerate(array.shape[:0:-1]) if size != 1), max(0, array.ndim - 1))


def _without_last(array: np.ndarray, count: int) -> np.ndarray:
    return array.reshape(array.shape[: array.ndim - count])


def _in_brackets(text: bytes, count: int) -> bytes:
    """The text of an array with each number in `count` lists of its own, which orjson takes twice as long to write."""
    opening, closing = b"[" * count, b"]" * count
    return opening + text.replace(b",", closing + b"," + opening) + closing if count else text


def _with_tokens(array: np.ndarray) -> bytes:
    """Orjson writes `null` for what is not finite, and nothing else: each is replaced by its token, in order."""
    pieces = orjson.dumps(array if array.ndim else array[()], option=_OPTIONS).split(b"null")
    missing = array[~np.isfinite(array)].tolist()
    tokens = [b"NaN" if value != value else b"Infinity" if value > 0 else b"-Infinity" for value in missing]  # noqa: PLR0124
    written = [pieces[0]]
    for token, piece in zip(tokens, pieces[1:], strict=True):
        written += (token, piece)
    return b"".join(written)
