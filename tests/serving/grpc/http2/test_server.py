"""Draining, ages and keepalive of whole connections."""

import asyncio
import time
from typing import Any

import grpc
import pytest
from hyperframe.frame import GoAwayFrame, PingFrame, RstStreamFrame

from serving.grpc.http2.limits import Limits
from serving.grpc.http2.server import Http2Server, Listener
from serving.sockets import reserve
from tests.serving.grpc.http2.echo import EchoServices
from tests.serving.grpc.http2.raw import connect, message
from tests.serving.grpc.servers import open_http2

LAST = 2**31 - 1


async def open_server(**limits: Any) -> tuple[Http2Server, EchoServices, str]:
    services = EchoServices()
    server = Http2Server(services, Limits(**limits))
    reserved = reserve("127.0.0.1", 0, "gRPC")
    await server.start([Listener(reserved)])
    return server, services, f"127.0.0.1:{reserved.getsockname()[1]}"


def test_a_server_that_stops_says_so_twice_and_answers_what_it_has_taken() -> None:
    async def test() -> None:
        server, services, address = await open_server()
        async with connect(address) as client:
            client.call(1, "/test/Hold", b"first")
            while not services.started:
                await asyncio.sleep(0.01)
            stopping = asyncio.create_task(server.stop(20))
            notice = await client.until(GoAwayFrame)
            assert (notice.last_stream_id, notice.error_code) == (LAST, 0)
            ping = await client.until(PingFrame)
            client.call(3, "/test/Hold", b"on its way")
            ping.flags.add("ACK")
            client.send(ping)
            client.call(5, "/test/Hold", b"too late")
            last = await client.until(GoAwayFrame)
            assert last.last_stream_id in (3, 5)
            await asyncio.sleep(0.1)
            assert not stopping.done()
            services.gate.set()
            assert (await client.reply(1))[1] == message(b"first")
            if not any(frame.stream_id == 3 for frame in client.frames):
                assert (await client.reply(3))[1] == message(b"on its way")
            while await client.next():
                pass
            assert last.last_stream_id == 5 or not any(frame.stream_id == 5 for frame in client.frames)
        await asyncio.wait_for(stopping, 5)
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection(*address.split(":"))

    asyncio.run(asyncio.wait_for(test(), 30))


def test_a_client_that_ignores_the_notice_is_served_to_the_end_and_no_further() -> None:
    async def test() -> None:
        server, services, address = await open_server()
        async with connect(address) as client:
            client.call(1, "/test/Hold")
            while not services.started:
                await asyncio.sleep(0.01)
            stopping = asyncio.create_task(server.stop(20))
            await client.until(GoAwayFrame)
            await client.until(GoAwayFrame)  # a second later, without an answer to the ping
            client.call(3)
            services.gate.set()
            await client.reply(1)
            while await client.next():
                pass
            assert not any(frame.stream_id == 3 for frame in client.frames)
        await asyncio.wait_for(stopping, 5)

    asyncio.run(asyncio.wait_for(test(), 30))


def test_what_outlives_the_grace_period_is_unavailable() -> None:
    async def test() -> None:
        server, services, address = await open_server()
        async with grpc.aio.insecure_channel(address) as channel:
            call = channel.unary_unary("/test/Hold")(b"")
            while not services.started:
                await asyncio.sleep(0.01)
            await server.stop(0.2)
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await call
            assert (caught.value.code(), caught.value.details()) == (
                grpc.StatusCode.UNAVAILABLE,
                "The server is stopping.",
            )
            assert services.cancelled == 1

    asyncio.run(asyncio.wait_for(test(), 30))


def test_a_server_without_calls_stops_at_once() -> None:
    async def test() -> float:
        server, _, address = await open_server()
        async with grpc.aio.insecure_channel(address) as channel:
            await channel.unary_unary("/test/Echo")(b"")
            start = time.monotonic()
            await server.stop(20)
        return time.monotonic() - start

    assert asyncio.run(asyncio.wait_for(test(), 30)) < 5


def test_a_connection_that_has_its_age_is_left_without_losing_a_call() -> None:
    async def test() -> None:
        async with (
            open_http2(EchoServices(), Limits(max_age_s=1.0)) as address,
            grpc.aio.insecure_channel(address) as channel,
            connect(address) as client,
        ):
            echo, start, count = channel.unary_unary("/test/Echo"), time.monotonic(), 0
            while time.monotonic() < start + 3:
                assert await echo(b"%d" % count) == b"%d" % count
                count += 1
            frame = await client.until(GoAwayFrame)
            assert (frame.last_stream_id, frame.additional_data) == (LAST, b"max_age")

    asyncio.run(asyncio.wait_for(test(), 30))


def test_an_idle_connection_is_left() -> None:
    async def test() -> None:
        async with open_http2(EchoServices(), Limits(max_idle_s=0.5)) as address, connect(address) as client:
            assert (await client.until(GoAwayFrame)).additional_data == b"max_idle"
            while await client.next():
                pass

    asyncio.run(asyncio.wait_for(test(), 30))


def test_a_client_that_is_gone_without_a_word_is_noticed() -> None:
    async def test() -> None:
        limits = Limits(keepalive_time_s=0.3, keepalive_timeout_s=0.3)
        services = EchoServices()
        async with open_http2(services, limits) as address, connect(address) as client:
            client.call(1, "/test/Hold")
            await client.until(PingFrame)
            while not services.cancelled:
                await asyncio.sleep(0.01)

    asyncio.run(asyncio.wait_for(test(), 30))


def test_a_reset_of_a_call_that_waits_for_its_window_frees_it() -> None:
    async def test() -> None:
        async with open_http2(EchoServices()) as address, connect(address, INITIAL_WINDOW_SIZE=10) as client:
            client.call(1, "/test/Grow", b"100000")
            client.call(3, "/test/Grow", b"1")
            await client.reply(3)
            client.send(RstStreamFrame(1, 8))
            await client.ping()
            await client.check_alive(5)

    asyncio.run(asyncio.wait_for(test(), 30))
