"""The headers of an RPC: what HTTP/2 asks of them (RFC 9113, section 8), and what gRPC reads in them."""

import binascii
import re
from base64 import b64decode
from collections.abc import Iterable
from dataclasses import dataclass

from serving.errors import ServingError, invalid_argument
from serving.grpc.http2.errors import ErrorCode, Http2StreamError
from serving.grpc.http2.header_blocks import Header

Metadata = tuple[tuple[str, str | bytes], ...]

HEADER_OVERHEAD_BYTES = 32
"""What HTTP/2 counts for a header besides its name and value."""

_PSEUDO = frozenset({b":method", b":scheme", b":path", b":authority"})
_CONNECTION = frozenset({b"connection", b"keep-alive", b"proxy-connection", b"transfer-encoding", b"upgrade"})
_TOKEN = re.compile(rb"[!#$%&'*+\-.^_`|~0-9a-z]+")
_VALUE = re.compile(rb"[^\0\r\n]*")
_TIMEOUT = re.compile(rb"([0-9]{1,8})([HMSmun])")
_UNITS_S = {b"H": 3600.0, b"M": 60.0, b"S": 1.0, b"m": 1e-3, b"u": 1e-6, b"n": 1e-9}
# What belongs to the protocol and not to the application.
_HIDDEN = frozenset({b"te", b"content-type", b"grpc-encoding", b"grpc-accept-encoding", b"grpc-timeout"})


@dataclass(frozen=True, slots=True)
class RequestHead:
    """The headers of an RPC.

    Attributes:
        method: HTTP's.
        path: `/package.Service/Method`.
        content_type: As it was sent; empty where there is none.
        encoding: How messages may be compressed.
        timeout_s: Seconds until the client's deadline; None where it has none.
        metadata: The application's: text, or bytes where a name ends in `-bin`.
        size: Bytes as HTTP/2 counts them.
        refusal: Why the RPC can't be answered, whatever its method.
    """

    method: bytes
    path: str
    content_type: bytes
    encoding: str
    timeout_s: float | None
    metadata: Metadata
    size: int
    refusal: ServingError | None


def read_head(headers: Iterable[Header]) -> RequestHead:
    """Reads the headers of an RPC.

    Raises:
        Http2StreamError: They break a rule of HTTP/2.
    """
    pseudo: dict[bytes, bytes] = {}
    regular: dict[bytes, bytes] = {}
    metadata: list[tuple[str, str | bytes]] = []
    size, refusal = 0, None
    for name, value in headers:
        size += len(name) + len(value) + HEADER_OVERHEAD_BYTES
        if name.startswith(b":"):
            if regular or name in pseudo or name not in _PSEUDO:
                raise Http2StreamError(ErrorCode.PROTOCOL_ERROR)
            pseudo[name] = value
            continue
        _check(name, value)
        regular.setdefault(name, value)
        if name not in _HIDDEN:
            try:
                metadata += _read_metadata(name, value)
            except ServingError as error:
                refusal = error
    if not {b":method", b":scheme", b":path"} <= pseudo.keys():
        raise Http2StreamError(ErrorCode.PROTOCOL_ERROR)
    timeout_s = None
    try:
        timeout_s = _read_timeout(regular.get(b"grpc-timeout"))
    except ServingError as error:
        refusal = error
    return RequestHead(
        pseudo[b":method"],
        pseudo[b":path"].decode("latin-1"),
        regular.get(b"content-type", b""),
        regular.get(b"grpc-encoding", b"identity").decode("latin-1"),
        timeout_s,
        tuple(metadata),
        size,
        refusal,
    )


def check_trailers(headers: Iterable[Header]) -> None:
    """Looks at what a client sends after its last message, of which gRPC needs nothing.

    Raises:
        Http2StreamError: It breaks a rule of HTTP/2.
    """
    for name, value in headers:
        _check(name, value)


def _check(name: bytes, value: bytes) -> None:
    if not _TOKEN.fullmatch(name) or not _VALUE.fullmatch(value) or name in _CONNECTION:
        raise Http2StreamError(ErrorCode.PROTOCOL_ERROR)
    if name == b"te" and value != b"trailers":
        raise Http2StreamError(ErrorCode.PROTOCOL_ERROR)


def _read_timeout(value: bytes | None) -> float | None:
    if value is None:
        return None
    match = _TIMEOUT.fullmatch(value)
    if match is None:
        text = value.decode("latin-1")
        raise invalid_argument(
            f"`grpc-timeout` must be at most 8 digits and one of H, M, S, m, u, n. Received: {text!r}."
        )
    return int(match[1]) * _UNITS_S[match[2]]


def _read_metadata(name: bytes, value: bytes) -> list[tuple[str, str | bytes]]:
    key = name.decode("latin-1")
    if not key.endswith("-bin"):
        return [(key, value.decode("latin-1"))]
    try:
        # Several values may be joined, and padding be left out.
        return [(key, b64decode(part + b"=" * (-len(part) % 4), validate=True)) for part in value.split(b",")]
    except binascii.Error as error:
        raise invalid_argument(f"`{key}` must be base64. Received: {value[:40]!r}.") from error
