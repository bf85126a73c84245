"""A client's connection: the socket's side of a session, from the preface to the last GOAWAY."""

import asyncio
import contextlib
from typing import Any, Protocol

from serving.errors import Code, ServingError
from serving.grpc.http2.errors import ErrorCode, Http2ConnectionError
from serving.grpc.http2.frames import (
    DEFAULT_WINDOW,
    MAX_WINDOW,
    FrameReader,
    goaway_frame,
    ping_frame,
    window_update_frame,
)
from serving.grpc.http2.lifetime import Lifetime, Step
from serving.grpc.http2.limits import Limits, ReceiveBudget
from serving.grpc.http2.opening import NotHttp2Error, Opening
from serving.grpc.http2.session import Services, Session
from serving.grpc.http2.settings import Setting, settings_frame

# The answers tell which of our pings has come back.
_DRAIN_PING, _KEEPALIVE_PING = b"drained?", b"alive?  "

# Beyond it a client that reads slowly holds up its own answers.
_WRITE_BUFFER_BYTES = 1 << 20

# How long a client may take to close its side.
_LINGER_S = 0.5


class Acceptor(Protocol):
    """What a connection needs of its server."""

    services: Services
    limits: Limits
    budget: ReceiveBudget

    def enter(self, connection: "Connection") -> bool:
        """Counts a connection in; False where it is one too many."""
        ...

    def leave(self, connection: "Connection") -> None:
        """Counts a connection out."""
        ...


class Connection(asyncio.Protocol):
    """One connection.

    Args:
        acceptor: The server.
    """

    _transport: Any
    _session: Session

    def __init__(self, acceptor: Acceptor) -> None:
        self._acceptor = acceptor
        self._limits = acceptor.limits
        self._loop = asyncio.get_running_loop()
        self._frames = FrameReader(self._limits.max_frame_bytes)
        self._opening: Opening | None = Opening()
        self._lifetime = Lifetime(self._limits, self._loop.time())
        self._closing_since: float | None = None
        self._drain_reason = ""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A client has come."""
        self._transport = transport
        self._transport.set_write_buffer_limits(high=_WRITE_BUFFER_BYTES)
        self._session = Session(
            self._loop,
            self._transport.write,
            self._acceptor.services,
            limits=self._limits,
            budget=self._acceptor.budget,
            on_end=self._on_end,
            on_pong=self._on_pong,
        )
        if not self._acceptor.enter(self):
            # Without a word: gRPC's clients take one that is greeted for a success, and come again at once, for ever.
            self._closing_since = self._loop.time()
            self._transport.close()
            return
        window = self._limits.connection_window_bytes
        greeting = settings_frame(
            {
                Setting.MAX_CONCURRENT_STREAMS: self._limits.max_concurrent_streams,
                Setting.INITIAL_WINDOW_SIZE: self._limits.stream_window_bytes,
                Setting.MAX_FRAME_SIZE: self._limits.max_frame_bytes,
                Setting.MAX_HEADER_LIST_SIZE: self._limits.max_metadata_bytes,
            }
        )
        if window > DEFAULT_WINDOW:
            greeting += window_update_frame(0, window - DEFAULT_WINDOW)
        self._transport.write(greeting)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 -- as asyncio calls it
        """The client has gone."""
        self._closing_since = self._loop.time()
        self._session.abandon_all()
        self._acceptor.leave(self)

    def data_received(self, data: bytes) -> None:
        """Some bytes."""
        if self._is_closing():
            return
        self._lifetime.received_at = self._loop.time()
        try:
            if self._opening is not None:
                rest = self._opening.feed(data)
                if rest is None:
                    return
                self._opening, data = None, rest
            for frame in self._frames.feed(data):
                self._session.handle(frame)
                if self._is_closing():
                    return
        except Http2ConnectionError as error:
            self._fail(error)
        except NotHttp2Error as error:
            self._close(error.reply)

    def pause_writing(self) -> None:
        """The client reads more slowly than it is answered."""
        self._session.outflow.paused = True

    def resume_writing(self) -> None:
        """It has caught up."""
        if not self._is_closing():
            self._session.outflow.resume()

    def drain(self, reason: str, *, grace_s: float | None = None) -> None:
        """Asks the client to open no more calls here, and closes after the last.

        Args:
            reason: Why, for the client.
            grace_s: How long the calls may go on; None: as long as they take.
        """
        if self._is_closing() or self._lifetime.is_draining:
            return
        if self._opening is not None:
            self._close(goaway_frame(0, ErrorCode.NO_ERROR, reason))
            return
        self._drain_reason = reason
        self._lifetime.drain(self._loop.time(), grace_s=grace_s)
        # Calls that are on their way are answered: those that come before the client's answer to the ping.
        self._transport.write(goaway_frame(MAX_WINDOW, ErrorCode.NO_ERROR, reason) + ping_frame(_DRAIN_PING))

    def end(self) -> None:
        """Ends the calls that are still open, and the connection."""
        if not self._is_closing():
            self._session.fail_all(ServingError(Code.UNAVAILABLE, "The server is stopping."))
            self._session.abandon_all()
            self._close()

    def abort(self) -> None:
        """Drops the connection, whatever the client hasn't read."""
        self._transport.abort()

    def check(self, now: float) -> None:
        """Looks for what has waited too long; called now and then."""
        if self._closing_since is not None:
            if now - self._closing_since > self._limits.stall_timeout_s:
                self.abort()
            return
        if self._opening is not None and now - self._lifetime.received_at > self._limits.stall_timeout_s:
            self._close()
            return
        self._session.check_progress(now)
        self._take(self._lifetime.due(now, num_calls=len(self._session.streams)))

    def _is_closing(self) -> bool:
        return self._closing_since is not None

    def _take(self, step: Step | None) -> None:
        if step is Step.DRAIN_AGED:
            self.drain(step.value, grace_s=self._limits.max_age_grace_s)
        elif step is Step.DRAIN_IDLE:
            self.drain(step.value)
        elif step is Step.STOP_OPENING:
            self._stop_opening()
        elif step is Step.PING:
            self._transport.write(ping_frame(_KEEPALIVE_PING))
        elif step is Step.END:
            self.end()

    def _stop_opening(self) -> None:
        if self._is_closing():
            return
        self._lifetime.stop_opening()
        self._session.stop_opening()
        self._transport.write(goaway_frame(self._session.last_stream_id, ErrorCode.NO_ERROR, self._drain_reason))
        self._close_when_done()

    def _on_pong(self, payload: bytes) -> None:
        if payload == _DRAIN_PING and self._lifetime.is_draining:
            self._stop_opening()

    def _on_end(self) -> None:
        self._lifetime.idle_since = self._loop.time()
        self._close_when_done()

    def _close_when_done(self) -> None:
        if self._lifetime.has_stopped_opening and not self._session.streams:
            self._close()

    def _fail(self, error: Http2ConnectionError) -> None:
        self._session.abandon_all()
        self._close(goaway_frame(self._session.last_stream_id, error.code, error.message))

    def _close(self, last_words: bytes = b"") -> None:
        if self._closing_since is None:
            self._closing_since = self._loop.time()
            if last_words:
                self._transport.write(last_words)
            if not self._transport.can_write_eof():  # TLS
                self._transport.close()
                return
            # To close a socket that has more to read resets it, and the client may lose what it was sent last.
            with contextlib.suppress(OSError):  # the client was faster
                self._transport.write_eof()
            self._loop.call_later(_LINGER_S, self._transport.close)
