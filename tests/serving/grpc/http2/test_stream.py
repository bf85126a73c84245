"""Calls without a socket."""

import asyncio
import gc

import hpack

from serving.grpc.http2.frames import END_HEADERS, END_STREAM, FrameReader, Kind, frame
from serving.grpc.http2.limits import Limits, ReceiveBudget
from serving.grpc.http2.session import Session
from serving.grpc.rpc import Rpc, RpcContext, UnaryRpc
from serving.request_context import begin_request
from tests.serving.grpc.http2.raw import message

CALLS = 200


class Services:
    """Notes the request in its context, as the server's own RPCs do."""

    def admit(self, _path: str, _metadata: object) -> Rpc:
        async def answer(content: bytes, context: RpcContext) -> bytes:
            begin_request("GRPC", context.invocation_metadata)
            return content

        return UnaryRpc(answer)


def test_calls_leave_nothing_to_the_garbage_collector() -> None:
    async def test() -> int:
        written: list[bytes | memoryview] = []
        session = Session(
            asyncio.get_running_loop(),
            written.append,
            Services(),
            limits=Limits(),
            budget=ReceiveBudget(None),
            on_end=lambda: None,
            on_pong=lambda _: None,
        )
        encoder = hpack.Encoder()
        fields = [(":method", "POST"), (":scheme", "http"), (":path", "/a/b"), ("content-type", "application/grpc")]
        content = frame(Kind.SETTINGS, 0, 0)
        for number in range(1, 2 * CALLS, 2):
            content += frame(Kind.HEADERS, END_HEADERS, number, encoder.encode(fields))
            content += frame(Kind.DATA, END_STREAM, number, message(b"x"))
        gc.collect()
        gc.disable()
        try:
            for each in FrameReader().feed(content):
                session.handle(each)
                await asyncio.sleep(0)
            await asyncio.sleep(0)
            assert not session.streams
            assert b"".join(written).count(message(b"x")) == CALLS
            del each
            return gc.collect()
        finally:
            gc.enable()

    assert asyncio.run(test()) < CALLS / 2
