"""What a request may take."""

from dataclasses import dataclass

MEBIBYTE = 1 << 20

MAX_JSON_DEPTH = 1024
"""Where orjson itself stops; a tensor has at most 64 dimensions, so that documents end far below."""


@dataclass(frozen=True)
class Limits:
    """Bounds of one request.

    Args:
        max_body_bytes: Size of a body as it is sent.
        max_inflated_bytes: Size of a gzip body once inflated; TensorFlow Serving's own limit by default.
        max_json_depth: Levels of lists and objects in a document, at most `MAX_JSON_DEPTH`.
        timeout_s: Time for a request to be answered once it has arrived; the flag --rest_api_timeout_in_ms.
    """

    max_body_bytes: int = 256 * MEBIBYTE
    max_inflated_bytes: int = 100 * MEBIBYTE
    max_json_depth: int = MAX_JSON_DEPTH
    timeout_s: float = 30.0


@dataclass(frozen=True)
class ConnectionLimits:
    """Bounds of the connections of one transport.

    Args:
        max_connections: Open at once; 0: no limit.
        read_timeout_s: Time for a request to arrive, header and body, and for the client to take its answer.
        idle_timeout_s: Time that a connection may stay open without a request.
    """

    max_connections: int = 0
    read_timeout_s: float = 30.0
    idle_timeout_s: float = 75.0
