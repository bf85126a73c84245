"""A call with any number of messages in and out."""

import asyncio
import contextvars
from collections.abc import AsyncIterator
from contextlib import aclosing

from serving.grpc.http2.replies import ok_trailers, reply_headers
from serving.grpc.http2.request_head import RequestHead
from serving.grpc.http2.stream import Owner, Stream
from serving.grpc.rpc import StreamRpc


class MessageStream(Stream):
    """Its handler starts with its headers, and is held up while the client takes no replies.

    Args:
        owner: The connection.
        stream_id: Its number there.
        head: Its headers.
        rpc: What answers.
        context: Where its task runs, where something was noted for it.
    """

    __slots__ = ("_rpc", "_waiter")

    def __init__(
        self, owner: Owner, stream_id: int, head: RequestHead, rpc: StreamRpc, context: contextvars.Context | None
    ) -> None:
        super().__init__(owner, stream_id, head, context)
        self._rpc = rpc
        # Its task waits for one thing at a time: a message, or room for a reply.
        self._waiter: asyncio.Future[None] | None = None
        self._run()

    async def _answer(self) -> None:
        async with aclosing(self._rpc.answer(self._requests(), self)) as replies:
            async for reply in replies:
                head = b""
                if not self._started:
                    head = self._owner.header_frames(self.stream_id, reply_headers(), end_stream=False)
                    self._started = True
                self._owner.outflow.send(self.outflow, head, self._frame_message(reply), b"")
                while self.outflow.busy:
                    await self._wait()
        if not self._started:
            self._started = True
            head = self._owner.header_frames(self.stream_id, reply_headers(), end_stream=False)
            self._finish(ok_trailers(), head)
        else:
            self._finish(ok_trailers())

    async def _requests(self) -> AsyncIterator[bytes]:
        while True:
            while self._messages:
                yield await self._take()
            if self._half_closed:
                return
            await self._wait()

    async def _wait(self) -> None:
        self._waiter = self._owner.loop.create_future()
        await self._waiter

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def _on_messages(self) -> None:
        self._wake()

    def on_moved(self) -> None:
        """Some of what waited was sent."""
        super().on_moved()
        self._wake()

    @property
    def _is_arriving(self) -> bool:
        return self._reader.size > 0
