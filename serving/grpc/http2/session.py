"""HTTP/2 between two endpoints (RFC 9113): frames are checked and handed to the calls that they belong to."""

import asyncio
import contextvars
from collections.abc import Callable, Sequence
from typing import Protocol

from serving.errors import ServingError
from serving.grpc.http2.admission import check_head, http_status
from serving.grpc.http2.control import Control
from serving.grpc.http2.errors import ErrorCode, Http2StreamError, protocol_error
from serving.grpc.http2.frames import (
    END_STREAM,
    MAX_WINDOW,
    PADDED,
    Frame,
    Kind,
    header_frames,
    reset_frame,
    uint32,
    unpadded,
    window_update_frame,
)
from serving.grpc.http2.header_blocks import HeaderDecoder
from serving.grpc.http2.incoming_headers import IncomingHeaders
from serving.grpc.http2.limits import Limits, PingPolice, ReceiveBudget
from serving.grpc.http2.message_stream import MessageStream
from serving.grpc.http2.outflow import Outflow
from serving.grpc.http2.replies import error_trailers, http_refusal
from serving.grpc.http2.request_head import RequestHead, check_trailers, read_head
from serving.grpc.http2.stream import Stream
from serving.grpc.http2.unary_stream import UnaryStream
from serving.grpc.rpc import Rpc, UnaryRpc


class Services(Protocol):
    """What the calls are for."""

    def admit(self, path: str, metadata: Sequence[tuple[str, str | bytes]]) -> Rpc:
        """What answers a call; called in a context of the call's own.

        Raises:
            ServingError: Nothing does, or not for this client.
        """
        ...


class Session:
    """The state of a connection, without its socket.

    Args:
        loop: The event loop.
        write: Sends bytes.
        services: What answers.
        limits: What the client may do.
        budget: Memory for messages that are arriving.
        on_end: Called when a call has ended.
        on_pong: Called with what a ping of ours has come back with.

    Attributes:
        streams: The calls that aren't answered completely, by number.
        last_stream_id: The newest call.
        running: Tasks of calls that haven't ended, those of calls that are gone included.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        write: Callable[[bytes | memoryview], None],
        services: Services,
        *,
        limits: Limits,
        budget: ReceiveBudget,
        on_end: Callable[[], None],
        on_pong: Callable[[bytes], None],
    ) -> None:
        self.loop = loop
        self.limits = limits
        self.budget = budget
        self.outflow = Outflow(write, self._on_moved)
        self.streams: dict[int, Stream] = {}
        self.last_stream_id = 0
        self.running = 0
        self._services = services
        self._on_end = on_end
        self._control = Control(loop, self.outflow, self.streams, pings=PingPolice(limits), on_pong=on_pong)
        self._decoder = HeaderDecoder()
        self._headers: IncomingHeaders | None = None
        self._uncredited = 0
        self._greeted = False
        self._opening = True
        self._handlers: dict[int, Callable[[Frame], None]] = {
            Kind.DATA: self._on_data,
            Kind.HEADERS: self._on_headers,
            Kind.RST_STREAM: self._on_reset,
            Kind.WINDOW_UPDATE: self._on_window_update,
            Kind.CONTINUATION: self._on_continuation,
            **self._control.handlers,
        }

    def handle(self, frame: Frame) -> None:
        """Takes a frame.

        Raises:
            Http2ConnectionError: The connection can't go on.
        """
        if not self._greeted:
            if frame.kind != Kind.SETTINGS:
                raise protocol_error("The first frame must be SETTINGS.")
            self._greeted = True
        if self._headers is not None and frame.kind != Kind.CONTINUATION:
            raise protocol_error("CONTINUATION must follow HEADERS that aren't complete.")
        handler = self._handlers.get(frame.kind)
        if handler is None:
            self._control.spend("frames that say nothing")
        else:
            handler(frame)

    def stop_opening(self) -> None:
        """Calls that are newer than `last_stream_id` are left unanswered from now on."""
        self._opening = False

    def fail_all(self, error: ServingError) -> None:
        """Ends every call with a status."""
        for stream in list(self.streams.values()):
            stream.fail(error)

    def abandon_all(self) -> None:
        """Ends every call: nobody reads on."""
        streams = list(self.streams.values())
        self.streams.clear()
        for stream in streams:
            stream.abandon()

    def check_progress(self, now: float) -> None:
        """Ends calls whose clients have stopped in the middle of something."""
        for stream in list(self.streams.values()):
            stream.check_progress(now)

    def header_frames(self, stream_id: int, block: bytes, *, end_stream: bool) -> bytes:
        """Frames with a header block for this client."""
        self.outflow.num_sent += 1
        return header_frames(
            stream_id, self._control.prefixed(block), self.outflow.max_frame_bytes, end_stream=end_stream
        )

    def widen_stream(self, stream_id: int, increment: int) -> None:
        """Tells the client that it may send more; stream 0 is the connection."""
        self.outflow.num_sent += 1
        self.outflow.write(window_update_frame(stream_id, increment))

    def end(self, stream: Stream) -> None:
        """Forgets a stream, whose last byte was sent or will never be."""
        if self.streams.pop(stream.stream_id, None) is not None:
            self._control.earn()
            self._on_end()

    def _on_moved(self, stream_id: int) -> None:
        stream = self.streams.get(stream_id)
        if stream is not None:
            stream.on_moved()

    def _on_data(self, frame: Frame) -> None:
        size, last = len(frame.payload), bool(frame.flags & END_STREAM)
        self._credit(size)
        piece = unpadded(frame) if frame.flags & PADDED else frame.payload
        if not piece and not last:
            self._control.spend("empty frames")
        stream = self._find(frame)
        if stream is None:
            self._control.spend("frames of calls that are over")
            return
        try:
            stream.receive(piece, size, last=last)
        except Http2StreamError as error:
            self._control.spend("calls that break rules")
            stream.reset(error.code)

    def _on_headers(self, frame: Frame) -> None:
        if not frame.stream_id & 1:
            raise protocol_error(f"A client's streams have odd numbers. Received: {frame.stream_id}.")
        self._headers = IncomingHeaders(frame)
        self._end_headers()

    def _on_continuation(self, frame: Frame) -> None:
        if self._headers is None:
            raise protocol_error("CONTINUATION must follow HEADERS.")
        self._headers.add(frame)
        self._end_headers()

    def _end_headers(self) -> None:
        headers = self._headers
        if headers is None or not headers.is_complete:
            return
        self._headers = None
        try:
            if headers.stream_id > self.last_stream_id:
                self.last_stream_id = headers.stream_id
                self._open(headers)
            else:
                self._end_requests(headers)
        except Http2StreamError as error:
            self._control.spend("calls that break rules")
            self._reset(headers.stream_id, error.code)

    def _end_requests(self, headers: IncomingHeaders) -> None:
        check_trailers(self._decoder.decode(headers.block))
        stream = self.streams.get(headers.stream_id)
        if stream is None:
            self._control.spend("frames of calls that are over")
        elif not headers.is_last:
            raise Http2StreamError(ErrorCode.PROTOCOL_ERROR)
        else:
            stream.receive(b"", 0, last=True)

    def _open(self, headers: IncomingHeaders) -> None:
        head: RequestHead | None = self._decoder.known(headers.block)
        if head is None:
            head = read_head(self._decoder.decode(headers.block))
            self._decoder.remember(headers.block, head)
        if not self._opening:
            return
        if max(len(self.streams), self.running) >= self.limits.max_concurrent_streams:
            raise Http2StreamError(ErrorCode.REFUSED_STREAM)
        status = http_status(head)
        if status:
            self._refuse(headers, http_refusal(status))
            return
        context = contextvars.copy_context()
        try:
            check_head(head, self.limits)
            rpc = context.run(self._services.admit, head.path, head.metadata)
        except ServingError as error:
            self._refuse(headers, error_trailers(error, alone=True))
            return
        stream: Stream
        if isinstance(rpc, UnaryRpc):
            stream = UnaryStream(self, headers.stream_id, head, rpc, context)
        else:
            stream = MessageStream(self, headers.stream_id, head, rpc, context)
        self.streams[headers.stream_id] = stream
        if headers.is_last:
            stream.receive(b"", 0, last=True)

    def _refuse(self, headers: IncomingHeaders, block: bytes) -> None:
        answer = self.header_frames(headers.stream_id, block, end_stream=True)
        if not headers.is_last:
            answer += reset_frame(headers.stream_id, ErrorCode.NO_ERROR)
        self._control.answer(answer)

    def _on_reset(self, frame: Frame) -> None:
        uint32(frame)
        stream = self._find(frame)
        if stream is None or not stream.is_answered:
            self._control.spend("calls that are taken back")
        if stream is not None:
            del self.streams[frame.stream_id]
            stream.abandon()
            self._on_end()

    def _on_window_update(self, frame: Frame) -> None:
        increment = uint32(frame) & MAX_WINDOW
        if not frame.stream_id:
            self.outflow.widen(increment)
            return
        stream = self._find(frame)
        if stream is None:
            return
        try:
            self.outflow.widen_stream(stream.outflow, increment)
        except Http2StreamError as error:
            self._control.spend("calls that break rules")
            stream.reset(error.code)

    def _find(self, frame: Frame) -> Stream | None:
        """The call that a frame belongs to; None where it is over."""
        stream = self.streams.get(frame.stream_id)
        if stream is None and (not frame.stream_id & 1 or frame.stream_id > self.last_stream_id):
            raise protocol_error(f"Stream {frame.stream_id} was never opened.")
        return stream

    def _credit(self, size: int) -> None:
        """Lets the client send on; how much of it is kept the streams and the budget limit."""
        self._uncredited += size
        if self._uncredited >= self.limits.connection_window_bytes // 2:
            self.widen_stream(0, self._uncredited)
            self._uncredited = 0

    def _reset(self, stream_id: int, code: ErrorCode) -> None:
        stream = self.streams.get(stream_id)
        if stream is not None:
            stream.reset(code)
        else:
            self._control.answer(reset_frame(stream_id, code))
