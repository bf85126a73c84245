"""The frame layer of HTTP/2 (RFC 9113, sections 4 and 6): bytes to frames and back."""

import enum
import struct
from collections.abc import Iterator
from typing import NamedTuple

from serving.grpc.http2.errors import ErrorCode, Http2ConnectionError, protocol_error

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
HEAD_BYTES = 9
MIN_FRAME_BYTES = 1 << 14
MAX_FRAME_BYTES = (1 << 24) - 1
MAX_WINDOW = (1 << 31) - 1
DEFAULT_WINDOW = (1 << 16) - 1
PING_BYTES = 8

_PRIORITY_BYTES = 5
_HEAD = struct.Struct(">HBBBL")
_UINT32 = struct.Struct(">L")


class Kind(enum.IntEnum):
    """Frame types."""

    DATA = 0x0
    HEADERS = 0x1
    PRIORITY = 0x2
    RST_STREAM = 0x3
    SETTINGS = 0x4
    PUSH_PROMISE = 0x5
    PING = 0x6
    GOAWAY = 0x7
    WINDOW_UPDATE = 0x8
    CONTINUATION = 0x9


# Flags, of which each type of frame has its own.
ACK = END_STREAM = 0x1
END_HEADERS = 0x4
PADDED = 0x8
PRIORITY = 0x20


class Frame(NamedTuple):
    """A frame as it came: `kind` may be one that nobody knows."""

    kind: int
    flags: int
    stream_id: int
    payload: bytes


class FrameReader:
    """Cuts what arrives into frames.

    Args:
        max_frame_bytes: Largest payload that is taken.
    """

    def __init__(self, max_frame_bytes: int = MIN_FRAME_BYTES) -> None:
        self._max_frame_bytes = max_frame_bytes
        self._rest = b""

    def feed(self, data: bytes) -> Iterator[Frame]:
        """The frames that are complete now.

        Raises:
            Http2ConnectionError: One is too large.
        """
        if self._rest:
            data = self._rest + data
        position, available = 0, len(data)
        while available - position >= HEAD_BYTES:
            high, low, kind, flags, stream_id = _HEAD.unpack_from(data, position)
            size = high << 8 | low
            if size > self._max_frame_bytes:
                raise Http2ConnectionError(
                    ErrorCode.FRAME_SIZE_ERROR,
                    f"A frame may have {self._max_frame_bytes} bytes. Received: {size}.",
                )
            start = position + HEAD_BYTES
            end = start + size
            if end > available:
                break
            yield Frame(kind, flags, stream_id & MAX_WINDOW, data[start:end])
            position = end
        self._rest = data[position:]


def unpadded(frame: Frame) -> bytes:
    """The payload of DATA or HEADERS without its padding and priority.

    Raises:
        Http2ConnectionError: There is more padding than payload.
    """
    start, end = 0, len(frame.payload)
    if frame.flags & PADDED:
        if not end:
            raise Http2ConnectionError(ErrorCode.FRAME_SIZE_ERROR, "A padded frame lacks the length of its padding.")
        start, end = 1, end - frame.payload[0]
    if frame.flags & PRIORITY and frame.kind == Kind.HEADERS:
        start += _PRIORITY_BYTES
    if start > end:
        raise protocol_error("A frame's padding is longer than the frame.")
    return frame.payload[start:end]


def uint32(frame: Frame) -> int:
    """The payload of RST_STREAM or WINDOW_UPDATE.

    Raises:
        Http2ConnectionError: It has another size.
    """
    if len(frame.payload) != _UINT32.size:
        raise Http2ConnectionError(ErrorCode.FRAME_SIZE_ERROR, f"Expected 4 bytes. Received: {len(frame.payload)}.")
    value: int = _UINT32.unpack(frame.payload)[0]
    return value


def frame(kind: Kind, flags: int, stream_id: int, payload: bytes = b"") -> bytes:
    """A frame as it is sent."""
    return frame_head(len(payload), kind, flags, stream_id) + payload


def frame_head(size: int, kind: Kind, flags: int, stream_id: int) -> bytes:
    """The first bytes of a frame, before a payload of this size."""
    return _HEAD.pack(size >> 8, size & 0xFF, kind, flags, stream_id)


def header_frames(stream_id: int, block: bytes, max_frame_bytes: int, *, end_stream: bool) -> bytes:
    """HEADERS, and as many CONTINUATION as a block needs."""
    first, rest = block[:max_frame_bytes], block[max_frame_bytes:]
    flags = (END_STREAM if end_stream else 0) | (0 if rest else END_HEADERS)
    written = frame(Kind.HEADERS, flags, stream_id, first)
    while rest:
        first, rest = rest[:max_frame_bytes], rest[max_frame_bytes:]
        written += frame(Kind.CONTINUATION, 0 if rest else END_HEADERS, stream_id, first)
    return written


def reset_frame(stream_id: int, code: ErrorCode) -> bytes:
    """RST_STREAM."""
    return frame(Kind.RST_STREAM, 0, stream_id, _UINT32.pack(code))


def window_update_frame(stream_id: int, increment: int) -> bytes:
    """WINDOW_UPDATE; stream 0 is the connection."""
    return frame(Kind.WINDOW_UPDATE, 0, stream_id, _UINT32.pack(increment))


def ping_frame(payload: bytes, *, ack: bool = False) -> bytes:
    """PING."""
    return frame(Kind.PING, ACK if ack else 0, 0, payload)


def goaway_frame(last_stream_id: int, code: ErrorCode, message: str = "") -> bytes:
    """GOAWAY."""
    return frame(Kind.GOAWAY, 0, 0, _UINT32.pack(last_stream_id) + _UINT32.pack(code) + message.encode())
