"""JSON text to Python values, and values to the short text that stands in an error."""

import json
import re
from collections.abc import Iterator
from typing import Any

import numpy as np
import orjson

from serving.errors import ServingError, invalid_argument
from serving.rest.limits import MAX_JSON_DEPTH

# Length at which TensorFlow Serving cuts a value that it repeats in an error.
MAX_SHOWN = 256

TOO_DEEP = "JSON Parse error: nested too deep. A tensor has at most 64 dimensions: send a flatter document."

# Words of RapidJSON, which TensorFlow Serving parses with, for what Python's parser finds.
_RAPIDJSON = {
    "Expecting ',' delimiter": "Missing a comma or } or ] after a member or an element.",
    "Expecting property name": "Missing a name for object member.",
    "Expecting ':' delimiter": "Missing a colon after a name of object member.",
    "Unterminated string": "Missing a closing quotation mark in string.",
    "Invalid \\escape": "Invalid escape character in string.",
    "Invalid \\uXXXX escape": "Incorrect hex digit after \\u escape in string.",
    "Invalid control character": "Invalid encoding in string.",
}

_STRING = r'"[^"\\]*+(?:\\.[^"\\]*+)*+(?:"|\Z)'
_INFINITY = re.compile(rf"{_STRING}|\bInf\b", re.DOTALL)
_ESCAPES = re.compile(
    r"\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|(\\u[dD][89a-fA-F][0-9a-fA-F]{2})|\\.", re.DOTALL
)
_WHITESPACE = " \t\n\r"
_JSON_STRING = re.compile(_STRING.encode(), re.DOTALL)
_NO_BRACKETS = bytes(set(range(256)) - set(b"[]{}"))


def parse_json(body: bytes) -> dict[str, Any]:
    """Parses a request's body.

    What TensorFlow Serving takes beyond JSON is taken too: the tokens NaN, Infinity, -Infinity, Inf and -Inf, and bytes
    after the document, which are ignored. Of equal keys in one object the last one counts.

    Args:
        body: The bytes, in UTF-8.

    Returns:
        The object at the top level. Integers beyond 64 bits have become floats.

    Raises:
        ServingError: INVALID_ARGUMENT; malformed, nested too deep, or no object.
    """
    if not body:
        raise invalid_argument("JSON Parse error: The document is empty")
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError:
        document = _parse_leniently(body)
    if not isinstance(document, dict):
        raise invalid_argument(f"JSON Value: {show(document)} Is not object")
    return document


def check_depth(body: bytes, max_depth: int) -> None:
    """Refuses a document that is nested deeper than `max_depth`, before it is parsed.

    Raises:
        ServingError: INVALID_ARGUMENT.
    """
    if max_depth >= MAX_JSON_DEPTH or body.count(b"[") + body.count(b"{") <= max_depth:
        return
    brackets = np.frombuffer(_JSON_STRING.sub(b"", body).translate(None, _NO_BRACKETS), np.uint8)
    depths = np.cumsum(np.where((brackets == ord("[")) | (brackets == ord("{")), 1, -1))
    if len(depths) and depths.max() > max_depth:
        raise invalid_argument(
            f"JSON Parse error: nested too deep. A document may have {max_depth} levels. Received: {depths.max()}."
        )


def show(value: Any) -> str:
    """The text of a value for an error, cut at `MAX_SHOWN` characters; takes no longer for a large or a deep value."""
    text = ""
    for piece in _pieces(value):
        text += piece
        if len(text) > MAX_SHOWN:
            return text[:MAX_SHOWN] + "..."
    return text


def json_type(value: Any) -> str:
    """What TensorFlow Serving calls the type of a value in its errors."""
    if value is None or isinstance(value, bool):
        return {None: "Null", True: "True", False: "False"}[value]
    if isinstance(value, str):
        return "String"
    if isinstance(value, int | float):
        return "Number"
    return "Array" if isinstance(value, list) else "Object"


def _parse_leniently(body: bytes) -> Any:
    """Parses what orjson refuses, or says where it is wrong; several times slower."""
    try:
        text = body.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise _parse_error("Invalid encoding in string.", error.start) from error
    if "Inf" in text:
        text = _INFINITY.sub(lambda match: "Infinity" if match[0] == "Inf" else match[0], text)
    start = len(text) - len(text.lstrip(_WHITESPACE))
    if start == len(text):
        raise _parse_error("The document is empty.", start)
    try:
        document, end = _DECODER.raw_decode(text, start)
    except json.JSONDecodeError as error:
        known = [words for message, words in _RAPIDJSON.items() if error.msg.startswith(message)]
        raise _parse_error((known or ["Invalid value."])[0], len(text[: error.pos].encode())) from error
    except RecursionError as error:
        # orjson stops at 1024 levels, this parser below that, before they could exhaust the stack.
        raise invalid_argument(TOO_DEEP) from error
    for match in _ESCAPES.finditer(text, start, end):
        if match[1]:
            raise _parse_error("The surrogate pair in string is invalid.", len(text[: match.start()].encode()))
    return document


def _parse_error(words: str, offset: int) -> ServingError:
    return invalid_argument(f"JSON Parse error: {words} at offset: {offset}")


def _integer(digits: str) -> int | float:
    """An integer where it fits 64 bits, else a float, as orjson and RapidJSON have it."""
    if len(digits) > 20:
        return float(digits)
    number = int(digits)
    return number if -(2**63) <= number < 2**64 else float(digits)


_DECODER = json.JSONDecoder(parse_int=_integer)


def _pieces(value: Any) -> Iterator[str]:
    """The text of a value, piece by piece, without recursion."""
    waiting: list[tuple[str, Any]] = [("", value)]
    while waiting:
        before, current = waiting.pop()
        yield before
        if isinstance(current, dict):
            yield "{"
            members = [(f"{_scalar(key)}: ", member) for key, member in _first(current.items())]
            waiting += reversed(_separated(members, "}"))
        elif isinstance(current, list):
            yield "["
            waiting += reversed(_separated([("", element) for element in _first(current)], "]"))
        elif current is not _NOTHING:
            yield _scalar(current)


_NOTHING = object()


def _first(values: Any) -> Iterator[Any]:
    return (value for value, _ in zip(values, range(MAX_SHOWN), strict=False))


def _separated(members: list[tuple[str, Any]], end: str) -> list[tuple[str, Any]]:
    separated = [(("" if index == 0 else ", ") + before, member) for index, (before, member) in enumerate(members)]
    return [*separated, (end, _NOTHING)]


def _scalar(value: Any) -> str:
    if isinstance(value, str):
        return json.dumps(value[: MAX_SHOWN + 1], ensure_ascii=False)
    if isinstance(value, float):
        return _decimal(value)
    return json.dumps(value)


def _decimal(value: float) -> str:
    if value != value or value in (float("inf"), float("-inf")):  # noqa: PLR0124 - NaN differs from itself
        return json.dumps(value)
    text = f"{value:.6g}"
    if float(text) != value:
        text = f"{value:.17g}"
    return text if "." in text or "e" in text else text + ".0"
