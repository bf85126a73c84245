"""A call with one message in and one message out."""

import contextvars

from serving.errors import Code, ServingError
from serving.grpc.http2.replies import ok_trailers, reply_headers
from serving.grpc.http2.request_head import RequestHead
from serving.grpc.http2.stream import Owner, Stream
from serving.grpc.rpc import UnaryRpc


class UnaryStream(Stream):
    """Its handler starts when the request is complete.

    Args:
        owner: The connection.
        stream_id: Its number there.
        head: Its headers.
        rpc: What answers.
        context: Where its task runs, where something was noted for it.
    """

    __slots__ = ("_rpc",)

    def __init__(
        self, owner: Owner, stream_id: int, head: RequestHead, rpc: UnaryRpc, context: contextvars.Context | None
    ) -> None:
        super().__init__(owner, stream_id, head, context)
        self._rpc = rpc

    async def _answer(self) -> None:
        reply = self._frame_message(await self._rpc.answer(await self._take(), self))
        if not self._finished:
            head = self._owner.header_frames(self.stream_id, reply_headers(), end_stream=False)
            self._started = True
            self._finish(ok_trailers(), head, reply)

    def _on_messages(self) -> None:
        expected = 1 if self._half_closed else len(self._messages)
        if len(self._messages) != expected or expected > 1:
            raise ServingError(Code.UNIMPLEMENTED, f"Expected one message. Received: {len(self._messages)}.")
        if self._half_closed:
            self._run()

    @property
    def _is_arriving(self) -> bool:
        return True
