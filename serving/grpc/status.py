"""From the errors of the serving package to gRPC's status."""

import grpc

from serving.errors import Code, ServingError

MAX_DETAILS = 1024
CUT_MARK = "...TRUNCATED"

_STATUS = {status.value[0]: status for status in grpc.StatusCode}


def status_code(code: Code) -> grpc.StatusCode:
    """GRPC's name of a canonical code."""
    return _STATUS[int(code)]


def details(error: ServingError) -> str:
    """The error's text, cut as TensorFlow Serving cuts it: details travel in a header, and headers are limited."""
    if len(error.message) <= MAX_DETAILS:
        return error.message
    return error.message[:MAX_DETAILS] + CUT_MARK
