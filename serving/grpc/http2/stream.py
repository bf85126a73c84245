"""One call: its messages in, its task, and its end, whichever comes first of answer, deadline and reset."""

import asyncio
import contextvars
import logging
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Sequence
from typing import Protocol

from serving.errors import Code, ServingError
from serving.grpc.http2.errors import ErrorCode, Http2StreamError
from serving.grpc.http2.frames import reset_frame
from serving.grpc.http2.limits import Limits, ReceiveBudget
from serving.grpc.http2.messages import MessageReader, check_size, inflate, message_prefix
from serving.grpc.http2.outflow import Outflow, StreamOutflow
from serving.grpc.http2.replies import error_trailers
from serving.grpc.http2.request_head import RequestHead

logger = logging.getLogger(__name__)

# The handler may notice the deadline itself, and say better what was late.
_DEADLINE_SLACK_S = 0.01
# Larger messages are inflated in a thread.
_INLINE_BYTES = 1 << 16


class Owner(Protocol):
    """What a stream needs of its connection."""

    loop: asyncio.AbstractEventLoop
    limits: Limits
    budget: ReceiveBudget
    outflow: Outflow
    running: int

    def header_frames(self, stream_id: int, block: bytes, *, end_stream: bool) -> bytes:
        """Frames with a header block for this client."""
        ...

    def widen_stream(self, stream_id: int, increment: int) -> None:
        """Tells the client that it may send more."""
        ...

    def end(self, stream: "Stream") -> None:
        """Forgets a stream, whose last byte was sent or will never be."""
        ...


class Stream(ABC):
    """A call, from its headers on. Also the context of its handler, see `serving.grpc.rpc.RpcContext`.

    Args:
        owner: The connection.
        stream_id: Its number there.
        head: Its headers.
        context: Where its task runs, where something was noted for it.
    """

    __slots__ = (
        "_context",
        "_deadline",
        "_finished",
        "_half_closed",
        "_head",
        "_messages",
        "_owner",
        "_progress_at",
        "_reader",
        "_reserved",
        "_started",
        "_task",
        "_timer",
        "_uncredited",
        "_window",
        "outflow",
        "stream_id",
    )

    def __init__(
        self, owner: Owner, stream_id: int, head: RequestHead, context: contextvars.Context | None = None
    ) -> None:
        self.stream_id = stream_id
        self.outflow = StreamOutflow(stream_id, owner.outflow.initial_window)
        self._owner = owner
        self._head = head
        self._context = context
        self._reader = MessageReader(head.encoding, owner.limits.max_receive_bytes)
        self._messages: deque[tuple[bool, bytes]] = deque()
        self._window = owner.limits.stream_window_bytes
        self._uncredited = self._reserved = 0
        self._half_closed = self._started = self._finished = False
        self._task: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._deadline: float | None = None
        self._progress_at = owner.loop.time()
        if head.timeout_s is not None:
            self._deadline = self._progress_at + head.timeout_s
            self._timer = owner.loop.call_at(self._deadline + _DEADLINE_SLACK_S, self._expire)

    @abstractmethod
    async def _answer(self) -> None:
        """Sends replies and the status, or raises a ServingError."""

    @abstractmethod
    def _on_messages(self) -> None:
        """Messages are complete, or no more will come."""

    @property
    @abstractmethod
    def _is_arriving(self) -> bool:
        """Whether the client is in the middle of something."""

    def invocation_metadata(self) -> Sequence[tuple[str, str | bytes]]:
        """What the client sent with the call: text, or bytes where a name ends in `-bin`."""
        return self._head.metadata

    def time_remaining(self) -> float | None:
        """Seconds until the client's deadline; None where it has none."""
        return None if self._deadline is None else self._deadline - self._owner.loop.time()

    def receive(self, piece: bytes, size: int, *, last: bool) -> None:
        """Takes a piece of the messages.

        Args:
            piece: The content of a DATA frame.
            size: What it counts for flow control.
            last: Whether the client sends no more.

        Raises:
            Http2StreamError: The client sends more than it may.
        """
        if self._half_closed:
            raise Http2StreamError(ErrorCode.STREAM_CLOSED)
        self._window -= size
        if self._window < 0:
            raise Http2StreamError(ErrorCode.FLOW_CONTROL_ERROR)
        self._half_closed = last
        self._progress_at = self._owner.loop.time()
        if self._finished:
            return
        try:
            if piece:
                self._messages += self._reader.feed(piece)
            if last:
                self._reader.close()
            if not last or self._reserved:
                self._reserve()
            self._on_messages()
        except ServingError as error:
            self.fail(error)
            return
        self._uncredited += size
        self._credit()

    def on_moved(self) -> None:
        """Some of what waited was sent."""
        self._progress_at = self._owner.loop.time()
        if self._finished and not self.outflow.busy:
            self._owner.end(self)

    def fail(self, error: ServingError) -> None:
        """Ends the call with a status, and whatever runs for it."""
        if self._finished:
            return
        if self.outflow.busy:  # the rest of a reply would have to come first
            self.reset(ErrorCode.CANCEL)
            return
        self._finish(error_trailers(error, alone=not self._started))
        self._stop()

    def reset(self, code: ErrorCode) -> None:
        """Ends the call without a status."""
        self.abandon()
        self._owner.outflow.write(reset_frame(self.stream_id, code))
        self._owner.end(self)

    def abandon(self) -> None:
        """Nobody waits for the reply any more."""
        self._finished = True
        self._owner.outflow.drop(self.outflow)
        self._stop()

    def check_progress(self, now: float) -> None:
        """Ends a call whose client has stopped in the middle of a request, or of taking its answer."""
        stall_timeout_s = self._owner.limits.stall_timeout_s
        if now - self._progress_at < stall_timeout_s:
            return
        if self.outflow.busy:
            self.reset(ErrorCode.CANCEL)
        elif self._is_arriving and not self._half_closed:
            self.fail(ServingError(Code.CANCELLED, f"Nothing of the request has come for {stall_timeout_s:g} s."))

    @property
    def is_answered(self) -> bool:
        """Whether there is a status, sent or on its way."""
        return self._finished

    def _run(self) -> None:
        self._owner.running += 1
        # With a context of its own the task sees what was noted for this call and no other. It comes to hold this
        # stream, as the task does: a reference back would leave every call to the garbage collector.
        context, self._context = self._context, None
        self._task = self._owner.loop.create_task(self._guarded(), context=context)

    async def _guarded(self) -> None:
        try:
            await self._answer()
        except ServingError as error:
            self.fail(error)
        except asyncio.CancelledError:
            self.fail(ServingError(Code.CANCELLED, "The call was cancelled inside the server."))
            raise
        except Exception:
            logger.exception("%s failed", self._head.path)
            self.fail(ServingError(Code.INTERNAL, "The call failed inside the server, whose log says why."))
        finally:
            self._task = None
            self._owner.running -= 1

    async def _take(self) -> bytes:
        """The next message that is there, as it was before it was compressed."""
        compressed, content = self._messages.popleft()
        if self._reserved:
            self._reserve()
        self._credit()
        if not compressed:
            return content
        limit = self._owner.limits.max_receive_bytes
        if len(content) < _INLINE_BYTES:
            return inflate(content, self._head.encoding, limit)
        return await self._owner.loop.run_in_executor(None, inflate, content, self._head.encoding, limit)

    def _frame_message(self, reply: bytes) -> bytes:
        check_size(len(reply), self._owner.limits.max_send_bytes, "Sent message")
        return message_prefix(len(reply)) + reply

    def _finish(self, block: bytes, head: bytes = b"", data: bytes = b"") -> None:
        """Sends what is left of a call and its status."""
        self._finished = True
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        ending = self._owner.header_frames(self.stream_id, block, end_stream=True)
        if not self._half_closed:
            ending += reset_frame(self.stream_id, ErrorCode.NO_ERROR)  # there is no use in sending the rest
        self._owner.outflow.send(self.outflow, head, data, ending)
        if not self.outflow.busy:
            self._owner.end(self)

    def _expire(self) -> None:
        self._timer = None
        self.fail(ServingError(Code.DEADLINE_EXCEEDED, "The request's deadline passed before it was answered."))

    def _stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._messages.clear()
        self._reader.clear()
        self._reserve()
        if self._task is not None and self._task is not asyncio.current_task(self._owner.loop):
            self._task.cancel()

    def _reserve(self) -> None:
        """Has what this call keeps in memory counted."""
        needed = self._reader.size + sum([len(content) for _, content in self._messages])
        if needed != self._reserved:
            self._owner.budget.change(needed - self._reserved)
            self._reserved = needed

    def _credit(self) -> None:
        """Lets the client send on, once it was listened to what it has sent."""
        if self._uncredited < self._owner.limits.stream_window_bytes // 2 or self._messages or self._half_closed:
            return
        self._window += self._uncredited
        self._owner.widen_stream(self.stream_id, self._uncredited)
        self._uncredited = 0
