"""Connections of clients that are slow, silent or endless, on real sockets."""

import asyncio
import contextlib
import json
import socket
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import uvloop

from serving.metrics import Metrics
from serving.rest.app import create_app
from serving.rest.limits import ConnectionLimits
from serving.rest.protocol import MAX_HEAD_BYTES
from serving.transports import RestTransport, reserve
from tests.serving.rest.planes import open_data_plane

HEAD = b"POST /v1/models/dense:predict HTTP/1.1\r\nHost: x\r\n"
BODY = json.dumps({"instances": [[1.0, 2.0, 3.0, 4.0]]}).encode()
REQUEST = HEAD + b"Content-Length: %d\r\n\r\n" % len(BODY) + BODY


def serve(models: Any, check: Callable[[int], Awaitable[None]], app: Any = None, **limits: Any) -> None:
    async def run() -> None:
        metrics = Metrics()
        async with open_data_plane(models, metrics) as plane:
            reserved = reserve("127.0.0.1", 0, "REST")
            port = reserved.getsockname()[1]
            rest = RestTransport(
                app or create_app(plane, metrics), reserved, grace_period_s=1, limits=ConnectionLimits(**limits)
            )
            await rest.start()
            try:
                await check(port)
            finally:
                await rest.stop()

    uvloop.run(asyncio.wait_for(run(), 20))


async def exchange(port: int, *pieces: bytes, pause_s: float = 0.0) -> bytes:
    """Sends pieces with pauses between them, and reads until the connection closes."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)

    async def send() -> None:
        with contextlib.suppress(ConnectionError):
            for piece in pieces:
                writer.write(piece)
                await writer.drain()
                await asyncio.sleep(pause_s)

    sending = asyncio.create_task(send())
    try:
        return await asyncio.wait_for(reader.read(), 10)
    finally:
        sending.cancel()
        writer.close()


@pytest.mark.parametrize(
    "pieces",
    [
        [HEAD],  # headers that never end
        [HEAD + b"Content-Length: 5\r\n\r\n"],  # a body that never starts
        [HEAD + b"Content-Length: 100\r\n\r\nx"],  # one that never ends
        [HEAD, *[b"X-%d: y\r\n" % number for number in range(100)]],  # headers, drop by drop
        [HEAD + b"Content-Length: 100\r\n\r\n", *[b"x"] * 100],  # a body, drop by drop
    ],
)
def test_a_request_that_does_not_arrive_in_time_is_408(models, pieces):
    async def check(port: int) -> None:
        reply = await exchange(port, *pieces, pause_s=0.05)
        assert reply.startswith(b"HTTP/1.1 408 Request Timeout\r\n")
        assert b"connection: close" in reply
        assert json.loads(reply.partition(b"\r\n\r\n")[2]) == {
            "error": "A request must arrive within 0.3 s. Received: a part of it. Send less at a time."
        }

    serve(models, check, read_timeout_s=0.3)


def test_a_slow_request_after_one_that_was_answered_is_408_too(models):
    async def check(port: int) -> None:
        reply = await exchange(port, REQUEST, HEAD, pause_s=0.1)
        assert reply.count(b"HTTP/1.1 200 OK") == 1
        assert reply.count(b"HTTP/1.1 408 ") == 1

    serve(models, check, read_timeout_s=0.3)


def test_a_request_in_pieces_is_answered_in_time(models):
    async def check(port: int) -> None:
        pieces = [REQUEST[start : start + 20] for start in range(0, len(REQUEST), 20)]
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        for _ in range(2):
            for piece in pieces:
                writer.write(piece)
                await asyncio.sleep(0.01)
            reply = await asyncio.wait_for(reader.readuntil(b"]]}"), 10)
            assert reply.startswith(b"HTTP/1.1 200")
            await asyncio.sleep(0.5)  # no timer of the request is left
        writer.close()

    serve(models, check, read_timeout_s=0.4)


def test_a_long_answer_is_no_slow_request(models):
    """What a client sends while its first request is being answered waits, however long that takes."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await asyncio.sleep(0.5)
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
        await send({"type": "http.response.body", "body": b"ok"})

    async def check(port: int) -> None:
        reply = await exchange(port, REQUEST + REQUEST + HEAD)
        assert reply.count(b"HTTP/1.1 200") == 2
        assert reply.count(b"HTTP/1.1 408") == 1

    serve(models, check, app, read_timeout_s=0.2)


@pytest.mark.parametrize("before", [b"", REQUEST])
def test_a_silent_connection_is_closed(models, before):
    async def check(port: int) -> None:
        reply = await exchange(port, before)
        assert reply.count(b"HTTP/1.1 200") == bool(before)
        assert b"408" not in reply

    serve(models, check, idle_timeout_s=0.2)


def test_headers_end_somewhere(models):
    async def check(port: int) -> None:
        piece = b"X-Long: " + b"x" * 1000 + b"\r\n"
        reply = await exchange(port, HEAD, *[piece] * (MAX_HEAD_BYTES // 1000 + 20), pause_s=0.001)
        assert reply.startswith(b"HTTP/1.1 431 ")
        assert b"A request's line and headers may be 65536 bytes" in reply
        endless = await exchange(port, b"GET /" + b"x" * 50_000, *[b"x" * 1000] * 40, pause_s=0.001)
        assert endless.startswith(b"HTTP/1.1 431 ")

    serve(models, check)


@pytest.mark.parametrize("pieces", [1, 2])
@pytest.mark.parametrize(("size", "status"), [(MAX_HEAD_BYTES - 200, 200), (MAX_HEAD_BYTES, 431)])
def test_headers_that_arrive_at_once_end_as_soon(models, size, status, pieces):
    async def check(port: int) -> None:
        long = HEAD + b"Connection: close\r\nX-Long: " + b"x" * size + b"\r\n"
        request = long + b"Content-Length: %d\r\n\r\n" % len(BODY) + BODY
        cut = len(request) // pieces
        reply = await exchange(port, request[:cut], request[cut:], pause_s=0.01)
        assert reply.startswith(b"HTTP/1.1 %d " % status)
        assert reply.count(b"HTTP/1.1 ") == 1

    serve(models, check)


@pytest.mark.parametrize("path", [b"/healthz", b"/readyz", b"/v1/models/dense", b"/monitoring/prometheus/metrics"])
def test_head_is_answered_as_get_without_the_body(models, path):
    async def check(port: int) -> None:
        ask = b"%s " + path + b" HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
        get, head = await exchange(port, ask % b"GET"), await exchange(port, ask % b"HEAD")
        assert head.startswith(b"HTTP/1.1 200 ")
        assert head.endswith(b"\r\n\r\n")
        assert names_of(head) == names_of(get)

    def names_of(reply: bytes) -> list[bytes]:
        return [line.partition(b":")[0] for line in reply.partition(b"\r\n\r\n")[0].splitlines()]

    serve(models, check)


@pytest.mark.parametrize("protocol", [b"websocket", b"h2c"])
def test_a_client_that_asks_for_another_protocol_is_answered_in_this_one_without_a_warning(models, caplog, protocol):
    async def check(port: int) -> None:
        upgrade = b"Connection: Upgrade\r\nUpgrade: " + protocol + b"\r\n\r\n"
        reply = await exchange(port, b"GET /healthz HTTP/1.1\r\nHost: x\r\n" + upgrade)
        assert reply.startswith(b"HTTP/1.1 200 ")

    serve(models, check, idle_timeout_s=0.2)
    assert [record.message for record in caplog.records if record.levelname == "WARNING"] == []


def test_garbage_is_400(models):
    async def check(port: int) -> None:
        for garbage in (b"\x16\x03\x01\x02\x00", b"nonsense\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n"):
            reply = await exchange(port, garbage)
            assert reply.startswith(b"HTTP/1.1 400 ")
            assert json.loads(reply.partition(b"\r\n\r\n")[2])["error"].startswith("Invalid HTTP request received.")

    serve(models, check)


def test_a_client_that_does_not_take_its_answer_is_cut_off(models):
    async def app(scope: Any, receive: Any, send: Any) -> None:
        size = 50_000_000
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % size)]})
        await send({"type": "http.response.body", "body": bytes(size)})

    def read_on(client: socket.socket) -> int:
        received = 0
        with contextlib.suppress(ConnectionError):
            while piece := client.recv(1 << 20):
                received += len(piece)
        return received

    async def check(port: int) -> None:
        with socket.create_connection(("127.0.0.1", port), timeout=10) as client:
            client.sendall(REQUEST)
            await asyncio.sleep(0.6)
            assert await asyncio.to_thread(read_on, client) < 50_000_000

    serve(models, check, app, read_timeout_s=0.2)
