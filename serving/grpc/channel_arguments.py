"""Arguments of gRPC's core, as `--grpc_channel_arguments` has them: what they mean to this server."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any

from serving.grpc.http2.frames import DEFAULT_WINDOW, MAX_FRAME_BYTES, MAX_WINDOW, MIN_FRAME_BYTES
from serving.grpc.http2.limits import NEVER_S, Limits

_MAX_INT32 = 2**31 - 1


@dataclass(frozen=True)
class _Argument:
    """The field of `Limits` that an argument sets, and how its integer is read."""

    field: str
    read: Callable[[int], Any]


def _seconds(value_ms: int) -> float:
    return NEVER_S if value_ms < 0 or value_ms == _MAX_INT32 else value_ms / 1000


def _bytes_or_none(value: int) -> int | None:
    return None if value < 0 else value


def _between(least: int, most: int) -> Callable[[int], int]:
    return lambda value: min(max(value, least), most)


_ARGUMENTS = {
    "grpc.max_concurrent_streams": _Argument("max_concurrent_streams", _between(1, _MAX_INT32)),
    "grpc.max_receive_message_length": _Argument("max_receive_bytes", _bytes_or_none),
    "grpc.max_message_length": _Argument("max_receive_bytes", _bytes_or_none),
    "grpc.max_send_message_length": _Argument("max_send_bytes", _bytes_or_none),
    "grpc.max_metadata_size": _Argument("max_metadata_bytes", _between(1, _MAX_INT32)),
    "grpc.absolute_max_metadata_size": _Argument("max_metadata_bytes", _between(1, _MAX_INT32)),
    "grpc.max_allowed_incoming_connections": _Argument("max_connections", _between(1, _MAX_INT32)),
    "grpc.max_connection_idle_ms": _Argument("max_idle_s", _seconds),
    "grpc.max_connection_age_ms": _Argument("max_age_s", _seconds),
    "grpc.max_connection_age_grace_ms": _Argument("max_age_grace_s", _seconds),
    "grpc.keepalive_time_ms": _Argument("keepalive_time_s", _seconds),
    "grpc.keepalive_timeout_ms": _Argument("keepalive_timeout_s", _seconds),
    "grpc.keepalive_permit_without_calls": _Argument("keepalive_without_calls", bool),
    "grpc.http2.min_ping_interval_without_data_ms": _Argument("min_ping_interval_s", _seconds),
    "grpc.http2.max_ping_strikes": _Argument("max_ping_strikes", _between(0, _MAX_INT32)),
    "grpc.http2.lookahead_bytes": _Argument("stream_window_bytes", _between(DEFAULT_WINDOW, MAX_WINDOW)),
    "grpc.http2.max_frame_size": _Argument("max_frame_bytes", _between(MIN_FRAME_BYTES, MAX_FRAME_BYTES)),
}


def apply_arguments(arguments: Iterable[tuple[str, int | str]], limits: Limits) -> Limits:
    """Limits as the arguments say, which count where they differ; of equal ones the last counts.

    Args:
        arguments: Names and values; what has no meaning here is passed over.
        limits: What holds without them.
    """
    changes = {
        _ARGUMENTS[name].field: _ARGUMENTS[name].read(value)
        for name, value in arguments
        if name in _ARGUMENTS and isinstance(value, int)
    }
    changed = replace(limits, **changes)
    window = max(changed.connection_window_bytes, changed.stream_window_bytes)
    return replace(changed, connection_window_bytes=window)


def explain_arguments(arguments: Iterable[tuple[str, int | str]]) -> list[str]:
    """A line for each argument that has no effect."""
    notes = []
    for name, value in arguments:
        if name not in _ARGUMENTS:
            notes.append(f"--grpc_channel_arguments: {name} has no effect here; the documentation lists what has.")
        elif not isinstance(value, int):
            notes.append(f"--grpc_channel_arguments: {name} must be an integer. Received: {value!r}, without effect.")
    return notes
