"""Which calls are taken up, by their headers."""

from serving.errors import Code, ServingError
from serving.grpc.http2.limits import Limits
from serving.grpc.http2.messages import check_encoding
from serving.grpc.http2.request_head import RequestHead

_GRPC = b"application/grpc"
_METHOD_NOT_ALLOWED, _UNSUPPORTED_MEDIA_TYPE = 405, 415


def http_status(head: RequestHead) -> int:
    """HTTP's status for what is no gRPC; 0 where it is."""
    if head.method != b"POST":
        return _METHOD_NOT_ALLOWED
    kind, rest = head.content_type[: len(_GRPC)], head.content_type[len(_GRPC) :]
    return 0 if kind == _GRPC and rest[:1] in (b"", b"+", b";") else _UNSUPPORTED_MEDIA_TYPE


def check_head(head: RequestHead, limits: Limits) -> None:
    """Refuses what can't be answered, whatever the method.

    Raises:
        ServingError: Why.
    """
    if head.refusal is not None:
        # Each call gets an error of its own: a shared one would collect the tracebacks of all who raise it.
        raise ServingError(head.refusal.code, head.refusal.message)
    if head.size > limits.max_metadata_bytes:
        raise ServingError(
            Code.RESOURCE_EXHAUSTED,
            f"received metadata size exceeds hard limit ({head.size} vs. {limits.max_metadata_bytes})",
        )
    check_encoding(head.encoding)
