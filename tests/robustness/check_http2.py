"""HTTP/2 as an attacker speaks it: each connection is answered, slowed or ended, and nobody else notices."""

import asyncio
import contextlib
import socket
import struct
import time
from itertools import chain, repeat

import pytest
from hyperframe.frame import ContinuationFrame, PingFrame, RstStreamFrame, SettingsFrame, WindowUpdateFrame
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from serving.grpc.http2.errors import ErrorCode
from tests.robustness.attack import PREDICT, predict_request, read_until_closed
from tests.serving.grpc.http2.raw import PREFACE, RawClient, connect, message

CONTENT = predict_request().SerializeToString()
# What `FLAGS` gives a client to go on, and the server to notice.
STALL_S = 2.0 + 3.0
BOUNDED = settings(
    max_examples=100,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


def attack(server, frames):
    """What a client that sends all of it is told: a code and a text."""

    async def send():
        async with connect(f"127.0.0.1:{server.port}") as client:
            told = asyncio.create_task(client.goaway())
            with contextlib.suppress(ConnectionError):
                for each in frames(client):
                    client.send(each)
                    await client.writer.drain()
                    await asyncio.sleep(0)
                    if told.done():
                        break
            return await told

    return asyncio.run(asyncio.wait_for(send(), 60))


def continuations(client, count, size):
    first = client.headers(1, PREDICT)
    first.flags.discard("END_HEADERS")
    yield first
    for _ in range(count):
        yield ContinuationFrame(1, b"\0" * size)


def rapid_reset(client):
    for number in range(1, 60_001, 2):
        block = client.headers(number, PREDICT).serialize() + client.data(number, message(CONTENT)).serialize()
        yield block + RstStreamFrame(number, ErrorCode.CANCEL).serialize()


FLOODS = {
    "continuation": lambda client: continuations(client, 100_000, 0),
    "large continuation": lambda client: continuations(client, 100, 16_000),
    "header bomb": lambda _: [
        struct.pack(">HBBBL", 14_007 >> 8, 14_007 & 255, 1, 5, 1)
        + (b"\x40\x01a\x7f\xa1\x1e" + b"v" * 4000 + b"\xbe" * 10_001)
    ],
    "rapid reset": rapid_reset,
    "pings": lambda _: (PingFrame(0, b"12345678") for _ in range(100_000)),
    "settings": lambda _: (SettingsFrame(0, {SettingsFrame.INITIAL_WINDOW_SIZE: n}) for n in range(100_000)),
    "empty data": lambda c: chain([c.headers(1, PREDICT)], repeat(c.data(1, b"", last=False), 100_000)),
    "unknown frames": lambda _: (struct.pack(">HBBBL", 0, 0, 77, 0, 0) for _ in range(100_000)),
    "resets of nothing": lambda c: chain([c.headers(1, PREDICT)], repeat(RstStreamFrame(1), 100_000)),
    "refused calls": lambda c: (
        c.headers(number, PREDICT, flags="END_STREAM", te="gzip") for number in range(1, 200_001, 2)
    ),
}


@pytest.mark.parametrize("name", FLOODS)
def test_a_flood_ends_its_connection(server, name):
    code, text = attack(server, FLOODS[name])
    assert code == ErrorCode.ENHANCE_YOUR_CALM
    assert text


@BOUNDED
@given(content=st.binary(max_size=300), preface=st.booleans())
def test_bytes_that_are_no_http2_end_the_connection(server, content, preface):
    with server.connect() as connection:
        connection.sendall((PREFACE if preface else b"") + content)
        connection.shutdown(socket.SHUT_WR)
        read_until_closed(connection)


@BOUNDED
@given(position=st.integers(0), byte=st.integers(0, 255))
def test_a_call_with_one_byte_wrong_is_answered_or_ended(server, position, byte):
    client = RawClient(None, None)
    call = SettingsFrame(0).serialize() + client.headers(1, PREDICT).serialize()
    call += client.data(1, message(CONTENT)).serialize()
    place = position % len(call)
    with server.connect() as connection:
        connection.sendall(PREFACE + call[:place] + bytes([byte]) + call[place + 1 :])
        connection.shutdown(socket.SHUT_WR)
        read_until_closed(connection)


def test_clients_that_take_nothing_lose_their_calls(server):
    async def stall():
        async with connect(f"127.0.0.1:{server.port}", INITIAL_WINDOW_SIZE=0) as client:
            for number in range(1, 1001, 2):
                client.call(number, PREDICT, CONTENT)
            start = time.monotonic()
            for _ in range(500):
                await client.until(RstStreamFrame)
            return time.monotonic() - start

    assert asyncio.run(asyncio.wait_for(stall(), 30)) < STALL_S


def test_requests_that_stop_arriving_are_given_up(server):
    async def stall():
        async with connect(f"127.0.0.1:{server.port}") as client:
            for number in range(1, 201, 2):
                client.send(client.headers(number, PREDICT), client.data(number, message(CONTENT)[:-1], last=False))
            fields, _ = await client.reply(199)
            return fields

    assert asyncio.run(asyncio.wait_for(stall(), 30))["grpc-status"] == "1"


def test_large_requests_that_never_end_are_bounded_together(server):
    """Each may have 4 MB, all together 32: what 40 of them send would be 156."""

    async def fill():
        async with contextlib.AsyncExitStack() as stack:
            clients = [await stack.enter_async_context(connect(f"127.0.0.1:{server.port}")) for _ in range(4)]
            prefix = struct.pack(">BL", 0, 4_000_000)
            refused = 0
            for client in clients:
                for number in range(1, 21, 2):
                    client.send(client.headers(number, PREDICT), client.data(number, prefix, last=False))
                    client.send(*[client.data(number, bytes(16_000), last=False)] * 245)
                    await client.writer.drain()
                await client.ping()
                refused += sum(frame.type == 1 for frame in client.frames)
            return refused

    assert asyncio.run(asyncio.wait_for(fill(), 60)) >= 30


def test_clients_that_ask_and_never_read_are_ended(server):
    """Their answers fill the socket, and then nothing more is kept for them."""
    client = RawClient(None, None)
    ask = b"".join(client.headers(n, "/none", flags="END_STREAM").serialize() for n in range(1, 100_001, 2))
    with server.connect() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.settimeout(30)
        with pytest.raises((BrokenPipeError, ConnectionResetError)):  # noqa: PT012 -- whichever call notices it first
            connection.sendall(PREFACE + SettingsFrame(0).serialize() + ask)
            while True:
                connection.sendall(PingFrame(0, b"12345678").serialize() * 1000)


def test_windows_opened_a_byte_at_a_time_are_served(server):
    async def trickle():
        async with connect(f"127.0.0.1:{server.port}", INITIAL_WINDOW_SIZE=0) as client:
            client.call(1, PREDICT, CONTENT)
            for _ in range(200):
                client.send(WindowUpdateFrame(1, 1))
            fields, content = await client.reply(1)
            return fields["grpc-status"], len(content)

    status, size = asyncio.run(asyncio.wait_for(trickle(), 30))
    assert status == "0"
    assert size > 20
