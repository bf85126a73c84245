"""The member `data` of a tensor: JSON values, flat or nested in row-major order, to an array, and back."""

import math
from array import array as numbers_of
from collections.abc import Mapping
from itertools import chain
from typing import Any

import numpy as np

from serving.errors import ServingError, invalid_argument
from serving.inference_protocol.datatypes import as_strings, datatype_of, to_objects
from serving.rest.encode import to_json
from serving.rest.json_text import json_type, show

# How `array.array` reads the numbers of a type; bfloat16 is of kind V.
_CODES: Mapping[str, str] = {"f": "d", "V": "d", "i": "q", "u": "Q"}
_EXPECTED: Mapping[str, str] = {"f": "numbers", "V": "numbers", "b": "true or false", "O": "strings"}


def decode_data(data: Any, dtype: np.dtype, shape: tuple[int, ...], *, name: str, booleans: bool) -> np.ndarray:
    """JSON values to an array.

    Args:
        data: What stands in the request; or a flat array of its numbers, where they were read by themselves.
        dtype: Of the elements; `object`: strings, which become bytes.
        shape: Of the array. The lists may be nested as the shape is, or be one flat list.
        name: The tensor's name, for errors.
        booleans: Whether `true` or `false` may occur in the document; they would be taken for numbers.

    Raises:
        ServingError: INVALID_ARGUMENT; not as many values as the shape asks for, other lists, or other values.
    """
    if isinstance(data, np.ndarray):
        return _read_numbers(data, dtype, shape, name)
    leaves = _flatten(data, shape, name)
    if len(leaves) != math.prod(shape):
        raise _wrong_count(len(leaves), shape, name)
    if not leaves:
        return np.zeros(shape, dtype)
    if dtype.kind == "O":
        return to_objects(_strings(leaves, dtype, name), shape)
    if dtype.kind == "b":
        if set(map(type, leaves)) != {bool}:
            raise _wrong(leaves, dtype, name)
        return np.array(leaves).reshape(shape)
    if booleans and bool in map(type, leaves):
        raise _wrong(leaves, dtype, name)
    return _numbers(leaves, dtype, name).reshape(shape)


def encode_data(tensor: np.ndarray, name: str) -> Any:
    """An array as one flat list, ready for `encode_json`.

    Raises:
        ServingError: INVALID_ARGUMENT; strings that are no text, which JSON has nothing for.
    """
    flat = np.ravel(tensor)
    if flat.dtype.kind not in "OSU":
        return to_json(flat)
    try:
        return [value.decode() for value in as_strings(flat)]
    except UnicodeDecodeError as error:
        raise invalid_argument(
            f"Output {name!r} holds bytes that are no text, which JSON can't carry: {error.object[:20]!r}. "
            "Ask for it with the parameter binary_data=true."
        ) from error


def _flatten(data: Any, shape: tuple[int, ...], name: str) -> list[Any]:
    if not isinstance(data, list):
        raise invalid_argument(
            f"'data' of input {name!r} must be a list, flat or nested in row-major order. Received: {show(data)}."
        )
    if not data or type(data[0]) is not list:
        return data
    leaves, fits = data, len(shape) > 0 and len(data) == shape[0]
    for width in shape[1:]:
        fits = fits and set(map(type, leaves)) == {list} and set(map(len, leaves)) == {width}
        if not fits:
            break
        leaves = list(chain.from_iterable(leaves))
        if not leaves:
            break
    if not fits:
        raise invalid_argument(
            f"'data' of input {name!r} must be one flat list, or lists nested as its shape {list(shape)} is. "
            "Received: lists of other lengths."
        )
    return leaves


def _read_numbers(numbers: np.ndarray, dtype: np.dtype, shape: tuple[int, ...], name: str) -> np.ndarray:
    if numbers.size != math.prod(shape):
        raise _wrong_count(numbers.size, shape, name)
    if not _in_range(numbers, dtype):
        raise _wrong(numbers.tolist(), dtype, name)
    with np.errstate(over="ignore"):  # beyond the range of a float is infinity
        return numbers.astype(dtype, copy=False).reshape(shape)


def _in_range(numbers: np.ndarray, dtype: np.dtype) -> bool:
    if dtype.kind not in "iu" or not numbers.size:
        return True
    limits = np.iinfo(dtype)
    return bool(limits.min <= int(numbers.min()) and int(numbers.max()) <= limits.max)


def _wrong_count(count: int, shape: tuple[int, ...], name: str) -> ServingError:
    return invalid_argument(
        f"Input {name!r} of shape {list(shape)} takes {math.prod(shape)} values. Received: {count}."
    )


def _numbers(leaves: list[Any], dtype: np.dtype, name: str) -> np.ndarray:
    try:
        numbers = np.frombuffer(numbers_of(_CODES[dtype.kind], leaves), _CODES[dtype.kind])
    except (TypeError, OverflowError) as error:
        raise _wrong(leaves, dtype, name) from error
    if not _in_range(numbers, dtype):
        raise _wrong(leaves, dtype, name)
    with np.errstate(over="ignore"):  # beyond the range of a float is infinity
        return numbers.astype(dtype, copy=False)


def _strings(leaves: list[Any], dtype: np.dtype, name: str) -> list[bytes]:
    try:
        return [leaf.encode() for leaf in leaves]
    except AttributeError as error:
        raise _wrong(leaves, dtype, name) from error


def _wrong(leaves: list[Any], dtype: np.dtype, name: str) -> ServingError:
    """Names the first value that is wrong."""
    first = next((leaf for leaf in leaves if not _fits(leaf, dtype)), leaves[0])
    expected = _EXPECTED.get(dtype.kind)
    if expected is None:
        limits = np.iinfo(dtype)
        expected = f"whole numbers from {limits.min} to {limits.max}"
    return invalid_argument(
        f"Input {name!r} of datatype {datatype_of(dtype, name)} must hold {expected}. Received: {show(first)} "
        f"(a {json_type(first).lower()})."
    )


def _fits(leaf: Any, dtype: np.dtype) -> bool:
    if dtype.kind == "O":
        return isinstance(leaf, str)
    if dtype.kind == "b" or isinstance(leaf, bool):
        return dtype.kind == "b" and isinstance(leaf, bool)
    if dtype.kind in "fV":
        return isinstance(leaf, int | float)
    limits = np.iinfo(dtype)
    return isinstance(leaf, int) and bool(limits.min <= leaf <= limits.max)
