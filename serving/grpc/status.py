"""What of an error reaches a client of gRPC."""

from serving.errors import ServingError

MAX_DETAILS = 1024
CUT_MARK = "...TRUNCATED"


def details(error: ServingError) -> str:
    """The error's text, cut as TensorFlow Serving cuts it: details travel in a header, and headers are limited."""
    if len(error.message) <= MAX_DETAILS:
        return error.message
    return error.message[:MAX_DETAILS] + CUT_MARK
