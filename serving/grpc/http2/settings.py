"""SETTINGS (RFC 9113, section 6.5): what either side tells the other that it may do."""

import enum
import struct
from collections.abc import Mapping

from serving.grpc.http2.errors import ErrorCode, Http2ConnectionError, protocol_error
from serving.grpc.http2.frames import ACK, MAX_FRAME_BYTES, MAX_WINDOW, MIN_FRAME_BYTES, Kind, frame

_ENTRY = struct.Struct(">HL")

# More settings in one frame than there are, and room for unknown ones.
_MOST_ENTRIES = 64

SETTINGS_ACK = frame(Kind.SETTINGS, ACK, 0)


class Setting(enum.IntEnum):
    """The settings that matter here."""

    HEADER_TABLE_SIZE = 0x1
    ENABLE_PUSH = 0x2
    MAX_CONCURRENT_STREAMS = 0x3
    INITIAL_WINDOW_SIZE = 0x4
    MAX_FRAME_SIZE = 0x5
    MAX_HEADER_LIST_SIZE = 0x6


def settings_frame(settings: Mapping[Setting, int]) -> bytes:
    """SETTINGS as it is sent."""
    return frame(Kind.SETTINGS, 0, 0, b"".join(_ENTRY.pack(name, value) for name, value in settings.items()))


def read_settings(payload: bytes) -> dict[int, int]:
    """The settings in a frame, of equal ones the last; unknown ones are ignored.

    Raises:
        Http2ConnectionError: The frame has a wrong size, or a value is out of its range.
    """
    if len(payload) % _ENTRY.size:
        raise Http2ConnectionError(ErrorCode.FRAME_SIZE_ERROR, f"SETTINGS has {len(payload)} bytes: no multiple of 6.")
    if len(payload) > _MOST_ENTRIES * _ENTRY.size:
        raise Http2ConnectionError(ErrorCode.ENHANCE_YOUR_CALM, "SETTINGS has more entries than there are settings.")
    settings = dict(_ENTRY.iter_unpack(payload))
    if settings.get(Setting.ENABLE_PUSH, 0) > 1:
        raise protocol_error(f"ENABLE_PUSH must be 0 or 1. Received: {settings[Setting.ENABLE_PUSH]}.")
    if settings.get(Setting.INITIAL_WINDOW_SIZE, 0) > MAX_WINDOW:
        raise Http2ConnectionError(ErrorCode.FLOW_CONTROL_ERROR, "INITIAL_WINDOW_SIZE must be less than 2^31.")
    if not MIN_FRAME_BYTES <= settings.get(Setting.MAX_FRAME_SIZE, MIN_FRAME_BYTES) <= MAX_FRAME_BYTES:
        raise protocol_error(
            f"MAX_FRAME_SIZE must lie in [2^14, 2^24 - 1]. Received: {settings[Setting.MAX_FRAME_SIZE]}."
        )
    return settings
