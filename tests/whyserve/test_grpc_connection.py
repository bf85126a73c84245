import asyncio
from base64 import b64encode

import grpc.aio
import numpy as np
import pytest

from whyserve.benchmark.grpc_connection import GrpcConnection
from whyserve.benchmark.load import Plan, generate, open_grpc

PATH = "/peer/Call"


class Peer:
    """gRPC's own server: answers with what it was sent.

    Args:
        options: Of the server.
        error: Status and message with which calls end instead.
    """

    def __init__(self, *options, error=None):
        self.messages, self.clients = [], set()
        self._options = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1), *options]
        self._error = error

    async def _call(self, message, context):
        self.messages.append(message)
        self.clients.add(context.peer())
        if self._error:
            await context.abort(*self._error)
        return message

    async def __aenter__(self):
        self._server = grpc.aio.server(options=self._options)
        handlers = {"Call": grpc.unary_unary_rpc_method_handler(self._call)}
        self._server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("peer", handlers),))
        port = self._server.add_insecure_port("127.0.0.1:0")
        await self._server.start()
        return port

    async def __aexit__(self, *_):
        await self.stop()

    async def stop(self):
        await self._server.stop(None)


async def call(port, message):
    connection = await GrpcConnection.open("127.0.0.1", port, PATH, message)
    await connection.call()
    await connection.close()


def plan(port, **options):
    return Plan("grpc", "127.0.0.1", port, PATH, b64encode(b"four").decode(), **options)


@pytest.mark.parametrize("size", [0, 5, 1 << 14, 100_000, 9_000_000], ids=str)
def test_messages_of_any_size_arrive_and_are_answered(size):
    async def test():
        peer, message = Peer(), np.random.default_rng(size).bytes(size)
        async with peer as port:
            connection = await GrpcConnection.open("127.0.0.1", port, PATH, message)
            for _ in range(3):
                await connection.call()
            await connection.close()
        assert peer.messages == 3 * [message]
        assert len(peer.clients) == 1

    asyncio.run(asyncio.wait_for(test(), 20))


def test_a_call_that_fails_is_an_error_with_status_and_message():
    async def test():
        async with Peer(error=(grpc.StatusCode.NOT_FOUND, "none of 100 % à la carte")) as port:
            with pytest.raises(RuntimeError, match=r"status 0\. Received: 5 none of 100 % à la carte"):
                await call(port, b"x")

    asyncio.run(asyncio.wait_for(test(), 20))


def test_a_connection_that_is_lost_during_a_call_is_an_error():
    async def test():
        async def drop(reader, writer):
            await reader.read(1)
            writer.close()

        async with await asyncio.start_server(drop, "127.0.0.1", 0) as server:
            with pytest.raises(ConnectionError, match="closed the connection during a call"):
                await call(server.sockets[0].getsockname()[1], b"x")

    asyncio.run(asyncio.wait_for(test(), 20))


def test_what_is_no_http2_is_an_error():
    async def test():
        async def answer(reader, writer):
            writer.write(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")
            await reader.read()
            writer.close()

        async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
            with pytest.raises(RuntimeError, match="Expected HTTP/2"):
                await call(server.sockets[0].getsockname()[1], b"x")

    asyncio.run(asyncio.wait_for(test(), 20))


def test_a_connection_that_the_server_ends_between_calls_is_opened_anew():
    async def test():
        peer = Peer(("grpc.max_connection_age_ms", 50), ("grpc.max_connection_age_grace_ms", 50))
        async with peer as port:
            [connection] = await open_grpc(plan(port, connections=1))
            for _ in range(3):
                await connection.send()
                await asyncio.sleep(0.2)
            await connection.close()
        assert len(peer.messages) == len(peer.clients) == 3

    asyncio.run(asyncio.wait_for(test(), 20))


def test_a_load_is_what_the_server_received():
    async def test():
        peer = Peer()
        async with peer as port:
            load = await generate(plan(port, connections=3, rate_per_s=200.0, seconds=0.2))
        assert len(load.latencies) == 40
        assert len(peer.messages) == 43  # each connection sends one before
        assert set(peer.messages) == {b"four"}
        assert len(peer.clients) == 3

    asyncio.run(asyncio.wait_for(test(), 20))
