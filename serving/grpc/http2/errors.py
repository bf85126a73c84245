"""What goes wrong on a connection or in one of its streams, in HTTP/2's error codes."""

import enum


class ErrorCode(enum.IntEnum):
    """RFC 9113, section 7."""

    NO_ERROR = 0x0
    PROTOCOL_ERROR = 0x1
    INTERNAL_ERROR = 0x2
    FLOW_CONTROL_ERROR = 0x3
    SETTINGS_TIMEOUT = 0x4
    STREAM_CLOSED = 0x5
    FRAME_SIZE_ERROR = 0x6
    REFUSED_STREAM = 0x7
    CANCEL = 0x8
    COMPRESSION_ERROR = 0x9
    CONNECT_ERROR = 0xA
    ENHANCE_YOUR_CALM = 0xB
    INADEQUATE_SECURITY = 0xC
    HTTP_1_1_REQUIRED = 0xD


class Http2ConnectionError(Exception):
    """The connection can't go on: it ends with GOAWAY.

    Args:
        code: Why.
        message: The same for people, in GOAWAY's debug data.
    """

    def __init__(self, code: ErrorCode, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


class Http2StreamError(Exception):
    """A stream can't go on: it ends with RST_STREAM, and the others don't notice.

    Args:
        code: Why.
    """

    def __init__(self, code: ErrorCode) -> None:
        super().__init__(code.name)
        self.code = code


def protocol_error(message: str) -> Http2ConnectionError:
    """The client breaks a rule of HTTP/2."""
    return Http2ConnectionError(ErrorCode.PROTOCOL_ERROR, message)


def enhance_your_calm(message: str) -> Http2ConnectionError:
    """The client keeps to the rules, and does nothing but cost."""
    return Http2ConnectionError(ErrorCode.ENHANCE_YOUR_CALM, message)
