"""Reads a request's body, within its limits of size; `serving.rest.protocol` has those of time."""

import asyncio
import zlib
from collections.abc import Iterable

from serving.errors import invalid_argument
from serving.rest.asgi import Receive
from serving.rest.limits import Limits
from serving.rest.replies import HttpError

Headers = Iterable[tuple[bytes, bytes]]

# Either format, told apart by its first bytes: gzip, or zlib's, which HTTP calls deflate.
_GZIP_OR_ZLIB = 32 + zlib.MAX_WBITS
_CLOSE = ((b"connection", b"close"),)

# A client that has sent nothing for so long isn't sending any more.
_SILENCE_S = 0.5


class ClientLeft(Exception):  # noqa: N818 - nobody is told
    """The client closed the connection before its answer."""


async def read_body(receive: Receive, headers: Headers, limits: Limits) -> bytes:
    """The whole body, inflated where it was sent in gzip or deflate. Its Content-Type does not matter.

    Raises:
        ServingError: Too large, or in an encoding that isn't known here.
        ClientLeft: The client did not send all of it.
    """
    length, encoding, asks_first = 0, b"", False
    for name, value in headers:
        if name == b"content-length":
            length = int(value) if value.isdigit() else 0
        elif name == b"content-encoding":
            encoding = value.lower()
        elif name == b"expect":
            asks_first = True
    if length > limits.max_body_bytes:
        if not asks_first:  # to read would be to say 100 Continue
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
    if b"gzip" in encoding or encoding == b"deflate":
        return inflate(body, limits.max_inflated_bytes)
    if encoding not in (b"", b"identity"):
        raise HttpError(
            415,
            f"Content-Encoding must be gzip, deflate or absent. Received: {encoding.decode('latin-1')!r}. "
            "Send the body plain.",
        )
    return body


def inflate(body: bytes, limit: int) -> bytes:
    """The content of a gzip or deflate body of one or more members.

    Args:
        body: The compressed bytes.
        limit: The largest content, in bytes; never more than that is inflated.

    Raises:
        ServingError: INVALID_ARGUMENT where it is neither or not all of it, 413 where it holds more.
    """
    pieces, left = [], limit
    while body:
        member = zlib.decompressobj(_GZIP_OR_ZLIB)
        try:
            piece = member.decompress(body, left + 1)
        except zlib.error as error:
            raise invalid_argument(
                f"Failed to inflate the body: {error}. Expected gzip or deflate, as Content-Encoding says."
            ) from error
        if len(piece) > left:
            raise _too_large(limit, "inflated")
        if not member.eof:
            raise invalid_argument("Failed to inflate the body: the compressed data ends early. Send all of it.")
        pieces.append(piece)
        left -= len(piece)
        body = member.unused_data
    return b"".join(pieces)


async def _read_rest(receive: Receive, start: bytes, limits: Limits) -> bytes:
    pieces, size = [start], len(start)
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


async def _discard(receive: Receive, limits: Limits) -> None:
    """Reads on for a while: a client that is still sending when the connection closes never sees why."""
    size = 0
    while size <= limits.max_body_bytes:
        try:
            async with asyncio.timeout(_SILENCE_S):
                message = await receive()
        except TimeoutError:
            return
        size += len(message.get("body", b""))
        if not message.get("more_body"):
            return


def _too_large(limit: int, how: str) -> HttpError:
    return HttpError(
        413, f"A body may be {limit} bytes {how}. Received: more. Send fewer instances at a time.", headers=_CLOSE
    )
