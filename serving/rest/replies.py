"""Replies, and what an error is in HTTP."""

import re
from collections.abc import Iterable
from dataclasses import dataclass

from serving.errors import Code, ServingError
from serving.rest.asgi import Send
from serving.rest.encode import encode_json

JSON = b"application/json"

Headers = tuple[tuple[bytes, bytes], ...]

HTTP_STATUS = {
    Code.OK: 200,
    Code.INVALID_ARGUMENT: 400,
    Code.FAILED_PRECONDITION: 400,
    Code.OUT_OF_RANGE: 400,
    Code.UNAUTHENTICATED: 401,
    Code.PERMISSION_DENIED: 403,
    Code.NOT_FOUND: 404,
    Code.ALREADY_EXISTS: 409,
    Code.ABORTED: 409,
    Code.RESOURCE_EXHAUSTED: 429,
    Code.CANCELLED: 499,
    Code.UNKNOWN: 500,
    Code.INTERNAL: 500,
    Code.DATA_LOSS: 500,
    Code.UNIMPLEMENTED: 501,
    Code.UNAVAILABLE: 503,
    Code.DEADLINE_EXCEEDED: 504,
}

# What a client must do to be let in, and what a token lacks (RFC 6750, section 3).
CHALLENGES: dict[Code, Headers] = {
    Code.UNAUTHENTICATED: ((b"www-authenticate", b'Bearer realm="whyserve"'),),
    Code.PERMISSION_DENIED: ((b"www-authenticate", b'Bearer realm="whyserve", error="insufficient_scope"'),),
}

# Seconds after which a client that was sent away may come again.
RETRY_AFTER_S = 1


@dataclass(frozen=True)
class Reply:
    """A complete answer. `code` is what the metrics count."""

    body: bytes
    status: int = 200
    content_type: bytes = JSON
    headers: Headers = ()
    code: Code = Code.OK


class HttpError(ServingError):
    """An error that HTTP has a status of its own for.

    Args:
        status: The HTTP status.
        message: What was expected, what came and how to put it right.
        headers: Further headers of the reply.
        code: The canonical code that it is counted under.
    """

    def __init__(self, status: int, message: str, *, headers: Headers = (), code: Code = Code.INVALID_ARGUMENT) -> None:
        super().__init__(code, message)
        self.status = status
        self.headers = headers


def error_reply(error: ServingError) -> Reply:
    """An error as TensorFlow Serving's `{"error": "..."}`."""
    # A text may repeat what came: a lone surrogate in it can't be written as UTF-8.
    body = encode_json({"error": error.message.encode("utf-8", "replace").decode()})
    if isinstance(error, HttpError):
        return Reply(body, error.status, headers=error.headers, code=error.code)
    headers: Headers = CHALLENGES.get(error.code, ())
    if error.code in (Code.RESOURCE_EXHAUSTED, Code.UNAVAILABLE):
        headers = ((b"retry-after", b"%d" % RETRY_AFTER_S),)
    return Reply(body, HTTP_STATUS[error.code], headers=headers, code=error.code)


def preflight_reply(headers: Iterable[tuple[bytes, bytes]]) -> Reply:
    """What TensorFlow Serving answers to OPTIONS, empty: 200 to a web page, 400 to anything else."""
    origins = [value for name, value in headers if name == b"origin" and re.match(rb"https?://", value)]
    return Reply(b"") if origins else Reply(b"", 400, code=Code.FAILED_PRECONDITION)


async def send_reply(send: Send, reply: Reply, further: Headers = ()) -> None:
    """Sends a reply, complete with its length."""
    headers = [
        (b"content-type", reply.content_type),
        (b"content-length", b"%d" % len(reply.body)),
        *reply.headers,
        *further,
    ]
    await send({"type": "http.response.start", "status": reply.status, "headers": headers})
    await send({"type": "http.response.body", "body": reply.body})
