"""Errors of the serving package, in gRPC's canonical codes; adapters translate them to their transport."""

import enum


class Code(enum.IntEnum):
    """Canonical status codes, with the numbers of `google.rpc.Code`."""

    OK = 0
    CANCELLED = 1
    UNKNOWN = 2
    INVALID_ARGUMENT = 3
    DEADLINE_EXCEEDED = 4
    NOT_FOUND = 5
    ALREADY_EXISTS = 6
    PERMISSION_DENIED = 7
    RESOURCE_EXHAUSTED = 8
    FAILED_PRECONDITION = 9
    ABORTED = 10
    OUT_OF_RANGE = 11
    UNIMPLEMENTED = 12
    INTERNAL = 13
    UNAVAILABLE = 14
    DATA_LOSS = 15
    UNAUTHENTICATED = 16


class ServingError(Exception):
    """A request that is answered with an error.

    Args:
        code: The canonical code.
        message: What was expected, what came and how to put it right, or TensorFlow Serving's own text where it has
            one.
    """

    def __init__(self, code: Code, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


class StartError(Exception):
    """The server can't start; the text is one line for whoever started it."""


def invalid_argument(message: str) -> ServingError:
    """An error of the caller: the request can't succeed however often it is sent."""
    return ServingError(Code.INVALID_ARGUMENT, message)


def not_found(message: str) -> ServingError:
    """The model, version or label that the request names is not served."""
    return ServingError(Code.NOT_FOUND, message)


def unavailable(message: str) -> ServingError:
    """The server can't answer now; the same request may succeed later."""
    return ServingError(Code.UNAVAILABLE, message)
