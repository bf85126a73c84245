"""The header blocks of replies (gRPC over HTTP/2: Response-Headers, Trailers, Trailers-Only)."""

import functools
from urllib.parse import quote_from_bytes

from serving.errors import ServingError
from serving.grpc.http2.header_blocks import Header, encode_headers
from serving.grpc.http2.messages import ACCEPTED
from serving.grpc.rpc import RpcError
from serving.grpc.status import details

# Printable ASCII but "%", as gRPC encodes `grpc-message`.
_PLAIN = "".join(map(chr, range(0x20, 0x7F))).replace("%", "")

_CONTENT_TYPE: Header = (b"content-type", b"application/grpc")
_ACCEPTED: Header = (b"grpc-accept-encoding", ",".join(ACCEPTED).encode())


@functools.cache
def reply_headers() -> bytes:
    """Before the first message."""
    return encode_headers([(b":status", b"200"), _CONTENT_TYPE, _ACCEPTED])


@functools.cache
def ok_trailers() -> bytes:
    """After the last message."""
    return encode_headers([(b"grpc-status", b"0")])


def error_trailers(error: ServingError, *, alone: bool) -> bytes:
    """The status of a call that failed.

    Args:
        error: Why.
        alone: Whether nothing was sent before.
    """
    headers: list[Header] = [(b":status", b"200"), _CONTENT_TYPE, _ACCEPTED] if alone else []
    headers.append((b"grpc-status", b"%d" % error.code))
    # A message may hold what a client sent, lone surrogates included.
    message = quote_from_bytes(details(error).encode(errors="replace"), safe=_PLAIN)
    headers.append((b"grpc-message", message.encode()))
    metadata = error.trailing_metadata if isinstance(error, RpcError) else ()
    return encode_headers(headers + [(name.encode(), value.encode()) for name, value in metadata])


def http_refusal(status: int) -> bytes:
    """For a request that is no gRPC at all."""
    return encode_headers([(b":status", b"%d" % status), (b"content-length", b"0")])
