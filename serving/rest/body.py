"""Reads a request's body, within its limits."""

import asyncio
import zlib
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from typing import Any

from serving.errors import Code, invalid_argument
from serving.rest.limits import Limits
from serving.rest.replies import HttpError

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Headers = Iterable[tuple[bytes, bytes]]

_GZIP = 16 + zlib.MAX_WBITS
_CLOSE = ((b"connection", b"close"),)


class ClientLeft(Exception):  # noqa: N818 - nobody is told
    """The client closed the connection before its answer."""


async def read_body(receive: Receive, headers: Headers, limits: Limits) -> bytes:
    """The whole body, inflated where it was sent in gzip. Its Content-Type does not matter.

    Raises:
        ServingError: Too large, too slow, or in an encoding that isn't known here.
        ClientLeft: The client did not send all of it.
    """
    length, encoding = 0, b""
    for name, value in headers:
        if name == b"content-length":
            length = int(value) if value.isdigit() else 0
        elif name == b"content-encoding":
            encoding = value.lower()
    if length > limits.max_body_bytes:
        await _discard(receive, limits)
        raise _too_large(limits.max_body_bytes, "sent")
    message = await receive()
    body: bytes = message.get("body", b"")
    if message.get("more_body"):
        body = await _read_rest(receive, body, limits)
    elif message["type"] == "http.disconnect":
        raise ClientLeft
    if len(body) > limits.max_body_bytes:
        raise _too_large(limits.max_body_bytes, "sent")
    if b"gzip" in encoding:
        return inflate(body, limits.max_inflated_bytes)
    if encoding not in (b"", b"identity"):
        raise HttpError(
            415,
            f"Content-Encoding must be gzip or absent. Received: {encoding.decode('latin-1')!r}. Send the body plain.",
        )
    return body


def inflate(body: bytes, limit: int) -> bytes:
    """The content of a gzip body of one or more members.

    Args:
        body: The compressed bytes.
        limit: The largest content, in bytes; never more than that is inflated.

    Raises:
        ServingError: INVALID_ARGUMENT where it is no gzip or not all of it, 413 where it holds more.
    """
    pieces, left = [], limit
    while body:
        member = zlib.decompressobj(_GZIP)
        try:
            piece = member.decompress(body, left + 1)
        except zlib.error as error:
            raise invalid_argument(
                f"Failed to inflate the body: {error}. Expected gzip, as Content-Encoding says."
            ) from error
        if len(piece) > left:
            raise _too_large(limit, "inflated")
        if not member.eof:
            raise invalid_argument("Failed to inflate the body: the gzip data ends early. Send all of it.")
        pieces.append(piece)
        left -= len(piece)
        body = member.unused_data
    return b"".join(pieces)


async def _read_rest(receive: Receive, start: bytes, limits: Limits) -> bytes:
    pieces, size = [start], len(start)
    try:
        async with asyncio.timeout(limits.timeout_s):
            while True:
                message = await receive()
                if message["type"] == "http.disconnect":
                    raise ClientLeft
                piece = message.get("body", b"")
                size += len(piece)
                if size > limits.max_body_bytes:
                    await _discard(receive, limits)
                    raise _too_large(limits.max_body_bytes, "sent")
                pieces.append(piece)
                if not message.get("more_body"):
                    return b"".join(pieces)
    except TimeoutError as error:
        raise HttpError(
            408,
            f"The body must arrive within {limits.timeout_s:g} s. Received: {size} bytes by then. Send less at a time.",
            headers=_CLOSE,
            code=Code.DEADLINE_EXCEEDED,
        ) from error


async def _discard(receive: Receive, limits: Limits) -> None:
    """Reads on for a while: a client that is still sending when the connection closes never sees why."""
    size = 0
    try:
        async with asyncio.timeout(limits.timeout_s):
            while size <= limits.max_body_bytes:
                message = await receive()
                size += len(message.get("body", b""))
                if not message.get("more_body"):
                    return
    except TimeoutError:
        return


def _too_large(limit: int, how: str) -> HttpError:
    return HttpError(
        413, f"A body may be {limit} bytes {how}. Received: more. Send fewer instances at a time.", headers=_CLOSE
    )
