"""What a request may take."""

from dataclasses import dataclass

MEBIBYTE = 1 << 20


@dataclass(frozen=True)
class Limits:
    """Bounds of one request.

    Args:
        max_body_bytes: Size of a body as it is sent.
        max_inflated_bytes: Size of a gzip body once inflated; TensorFlow Serving's own limit by default.
        timeout_s: Time for a request to be answered, and for its body to arrive; the flag --rest_api_timeout_in_ms.
    """

    max_body_bytes: int = 256 * MEBIBYTE
    max_inflated_bytes: int = 100 * MEBIBYTE
    timeout_s: float = 30.0
