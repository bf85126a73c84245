"""Frames of the connection itself: SETTINGS, PING, GOAWAY, and those that a client has no use for."""

import asyncio
from collections.abc import Callable, Mapping

from serving.grpc.http2.errors import ErrorCode, Http2ConnectionError, protocol_error
from serving.grpc.http2.frames import ACK, PING_BYTES, Frame, Kind, ping_frame
from serving.grpc.http2.header_blocks import NO_TABLE
from serving.grpc.http2.limits import Allowance, PingPolice
from serving.grpc.http2.outflow import Outflow
from serving.grpc.http2.settings import SETTINGS_ACK, Setting, read_settings
from serving.grpc.http2.stream import Stream

_DEFAULT_TABLE_BYTES = 4096


class Control:
    """Takes and answers them.

    Args:
        loop: The event loop.
        outflow: What is sent.
        streams: The calls that are open.
        pings: How often the client may ask.
        on_pong: Called with what a ping of ours has come back with.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        outflow: Outflow,
        streams: Mapping[int, Stream],
        *,
        pings: PingPolice,
        on_pong: Callable[[bytes], None],
    ) -> None:
        self._loop = loop
        self._outflow = outflow
        self._streams = streams
        self._pings = pings
        self._on_pong = on_pong
        self._allowance = Allowance()
        self._block_prefix = b""
        self.handlers: Mapping[int, Callable[[Frame], None]] = {
            Kind.SETTINGS: self._on_settings,
            Kind.PING: self._on_ping,
            Kind.GOAWAY: self._on_goaway,
            Kind.PUSH_PROMISE: self._on_push_promise,
        }

    def spend(self, what: str) -> None:
        """Counts something wasted.

        Raises:
            Http2ConnectionError: Too much was.
        """
        self._allowance.spend(self._loop.time(), what)

    def earn(self) -> None:
        """Counts a call that was answered."""
        self._allowance.earn()

    def answer(self, frames: bytes) -> None:
        """Answers a frame at once; a client that doesn't read mustn't ask for much of that.

        Raises:
            Http2ConnectionError: It did.
        """
        if self._outflow.paused:
            self.spend("frames whose answers aren't read")
        self._outflow.write(frames)

    def prefixed(self, block: bytes) -> bytes:
        """A header block, after what the client must be told before it."""
        if self._block_prefix:
            block, self._block_prefix = self._block_prefix + block, b""
        return block

    def _on_settings(self, frame: Frame) -> None:
        _check_connection(frame)
        if frame.flags & ACK:
            if frame.payload:
                raise Http2ConnectionError(ErrorCode.FRAME_SIZE_ERROR, "SETTINGS with ACK must be empty.")
            return
        self.spend("SETTINGS")
        settings = read_settings(frame.payload)
        if Setting.INITIAL_WINDOW_SIZE in settings:
            streams = [stream.outflow for stream in self._streams.values()]
            self._outflow.resize(streams, settings[Setting.INITIAL_WINDOW_SIZE])
        if Setting.MAX_FRAME_SIZE in settings:
            self._outflow.limit_frames(settings[Setting.MAX_FRAME_SIZE])
        if settings.get(Setting.HEADER_TABLE_SIZE, _DEFAULT_TABLE_BYTES) < _DEFAULT_TABLE_BYTES:
            self._block_prefix = NO_TABLE
        self.answer(SETTINGS_ACK)

    def _on_ping(self, frame: Frame) -> None:
        _check_connection(frame)
        if len(frame.payload) != PING_BYTES:
            raise Http2ConnectionError(
                ErrorCode.FRAME_SIZE_ERROR, f"PING has {PING_BYTES} bytes. Received: {len(frame.payload)}."
            )
        if frame.flags & ACK:
            self._on_pong(frame.payload)
            return
        self.spend("PING")
        self._pings.check(self._loop.time(), num_sent=self._outflow.num_sent, idle=not self._streams)
        self.answer(ping_frame(frame.payload, ack=True))

    def _on_goaway(self, frame: Frame) -> None:
        _check_connection(frame)
        self.spend("GOAWAY")  # the client says that it will leave, which it does without being asked

    def _on_push_promise(self, _frame: Frame) -> None:
        raise protocol_error("A client doesn't push.")


def _check_connection(frame: Frame) -> None:
    if frame.stream_id:
        raise protocol_error(f"{Kind(frame.kind).name} belongs to the connection.")
