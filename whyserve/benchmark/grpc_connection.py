"""A client that makes one gRPC call after another, for the load generator: frames of HTTP/2 without a library.

gRPC's own library takes longer for a call than the server does, and a load generator must not be what is measured.
"""

import asyncio
from typing import cast
from urllib.parse import unquote

from serving.grpc.http2.errors import Http2ConnectionError, Http2StreamError
from serving.grpc.http2.frames import (
    ACK,
    DEFAULT_WINDOW,
    END_HEADERS,
    END_STREAM,
    MAX_WINDOW,
    PREFACE,
    Frame,
    FrameReader,
    Kind,
    frame,
    header_frames,
    ping_frame,
    uint32,
    unpadded,
    window_update_frame,
)
from serving.grpc.http2.header_blocks import Header, HeaderDecoder, encode_headers
from serving.grpc.http2.messages import message_prefix
from serving.grpc.http2.outflow import Outflow, StreamOutflow
from serving.grpc.http2.settings import SETTINGS_ACK, Setting, read_settings, settings_frame

_OPENING = (
    PREFACE
    + settings_frame({Setting.ENABLE_PUSH: 0, Setting.INITIAL_WINDOW_SIZE: MAX_WINDOW})
    + window_update_frame(0, MAX_WINDOW - DEFAULT_WINDOW)
)
_WIDEN_FROM = MAX_WINDOW // 2
_OK = b"0"


class GoneAwayError(ConnectionError):
    """The server closes the connection and has not looked at the call: it may be sent again on another one."""


class GrpcConnection(asyncio.Protocol):
    """Sends the same call again and again.

    Args:
        host: The server, as it is named to itself.
        path: gRPC's method.
        message: The request.

    Attributes:
        usable: Whether a call may be started.
    """

    def __init__(self, host: str, path: str, message: bytes) -> None:
        self.usable = False
        self._block = encode_headers(
            [
                (b":method", b"POST"),
                (b":scheme", b"http"),
                (b":path", path.encode()),
                (b":authority", host.encode()),
                (b"content-type", b"application/grpc"),
                (b"te", b"trailers"),
            ]
        )
        self._content = message_prefix(len(message)) + message
        self._reader = FrameReader()
        self._decoder = HeaderDecoder()
        self._headers: dict[bytes, bytes] = {}
        self._unfinished_block = b""
        self._last_block = False
        self._received = 0
        self._stream = StreamOutflow(-1, 0)
        self._answer: asyncio.Future[None] | None = None

    @classmethod
    async def open(cls, host: str, port: int, path: str, message: bytes) -> "GrpcConnection":
        """Connects.

        Raises:
            OSError: Nobody listens.
        """
        loop = asyncio.get_running_loop()
        return (await loop.create_connection(lambda: cls(f"{host}:{port}", path, message), host, port))[1]

    async def call(self) -> None:
        """Makes the call and waits for its answer; one call at a time.

        Raises:
            GoneAwayError: The server has not looked at it.
            ConnectionError: The connection was lost.
            RuntimeError: The call failed, with its status.
        """
        if not self.usable:
            raise GoneAwayError("The connection is closed")
        self._stream = StreamOutflow(self._stream.stream_id + 2, self._outflow.initial_window)
        self._headers = {}
        self._answer = asyncio.get_running_loop().create_future()
        number = self._stream.stream_id
        head = header_frames(number, self._block, self._outflow.max_frame_bytes, end_stream=False)
        self._outflow.send(self._stream, head, self._content, frame(Kind.DATA, END_STREAM, number))
        await self._answer
        if (status := self._headers.get(b"grpc-status")) != _OK:
            message = unquote(self._headers.get(b"grpc-message", b"").decode("ascii", "replace"))
            raise RuntimeError(f"Expected gRPC status 0. Received: {(status or b'none').decode()} {message}")

    async def close(self) -> None:
        """Ends the connection; a call that waits fails."""
        self.usable = False
        self._transport.close()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Sends what a client says first."""
        self._transport = cast("asyncio.Transport", transport)
        self._outflow = Outflow(self._transport.write, moved=lambda _: None)
        self._transport.write(_OPENING)
        self.usable = True

    def connection_lost(self, exc: Exception | None) -> None:
        """A call that waits fails."""
        self.usable = False
        self._fail(ConnectionError(f"The server closed the connection during a call: {exc or 'without a word'}"))

    def pause_writing(self) -> None:
        """The socket takes nothing."""
        self._outflow.paused = True

    def resume_writing(self) -> None:
        """The socket takes bytes again."""
        self._outflow.resume()

    def data_received(self, data: bytes) -> None:
        """Takes what came."""
        try:
            for each in self._reader.feed(data):
                self._take(each)
        except (Http2ConnectionError, Http2StreamError) as error:
            self._fail(RuntimeError(f"Expected HTTP/2. Received: {error}"))
            self._transport.close()

    def _take(self, came: Frame) -> None:
        if came.kind == Kind.DATA:
            self._take_data(came)
        elif came.kind in {Kind.HEADERS, Kind.CONTINUATION}:
            self._take_headers(came)
        elif came.kind == Kind.WINDOW_UPDATE:
            self._take_window(came)
        elif came.kind == Kind.SETTINGS and not came.flags & ACK:
            self._take_settings(came)
        elif came.kind == Kind.PING and not came.flags & ACK:
            self._transport.write(ping_frame(came.payload, ack=True))
        elif came.kind == Kind.RST_STREAM and came.stream_id == self._stream.stream_id:
            self._fail(RuntimeError(f"Expected an answer. Received: RST_STREAM {uint32(came)}"))
        elif came.kind == Kind.GOAWAY:
            self._go_away(came)

    def _take_data(self, came: Frame) -> None:
        self._received += len(came.payload)
        if self._received >= _WIDEN_FROM:
            self._transport.write(window_update_frame(0, self._received))
            self._received = 0
        if came.flags & END_STREAM:
            self._finish()

    def _take_headers(self, came: Frame) -> None:
        if came.kind == Kind.HEADERS:
            self._unfinished_block = unpadded(came)
            self._last_block = bool(came.flags & END_STREAM)
        else:
            self._unfinished_block += came.payload
        if came.flags & END_HEADERS:
            self._headers.update(self._decoded(self._unfinished_block))
            if self._last_block:
                self._finish()

    def _decoded(self, block: bytes) -> list[Header]:
        headers: list[Header] | None = self._decoder.known(block)
        if headers is None:
            headers = list(self._decoder.decode(block))
            self._decoder.remember(block, headers)
        return headers

    def _take_window(self, came: Frame) -> None:
        if came.stream_id == 0:
            self._outflow.widen(uint32(came))
        elif came.stream_id == self._stream.stream_id:
            self._outflow.widen_stream(self._stream, uint32(came))

    def _take_settings(self, came: Frame) -> None:
        settings = read_settings(came.payload)
        self._transport.write(SETTINGS_ACK)
        if Setting.MAX_FRAME_SIZE in settings:
            self._outflow.limit_frames(settings[Setting.MAX_FRAME_SIZE])
        if Setting.INITIAL_WINDOW_SIZE in settings:
            self._outflow.resize([self._stream], settings[Setting.INITIAL_WINDOW_SIZE])

    def _go_away(self, came: Frame) -> None:
        self.usable = False
        last = int.from_bytes(came.payload[:4], "big") & MAX_WINDOW
        if self._stream.stream_id > last:
            self._fail(GoneAwayError("The server closes the connection"))
        if self._answer is None or self._answer.done():
            self._transport.close()

    def _finish(self) -> None:
        if self._answer is not None and not self._answer.done():
            self._answer.set_result(None)
        if not self.usable:
            self._transport.close()

    def _fail(self, error: Exception) -> None:
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(error)
