"""Calls of grpcio's client, which is written in C++ by others."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import grpc
import pytest

from serving.errors import Code
from serving.grpc.http2.limits import Limits
from tests.serving.grpc.http2.echo import MESSAGE, EchoServices
from tests.serving.grpc.servers import open_http2

LARGE = 100_000_000
OPTIONS = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]


def run(test: Callable[[Any, EchoServices], Awaitable[None]], **limits: Any) -> None:
    """A server with its echo services, and a channel to it."""

    async def open_both() -> None:
        services = EchoServices()
        async with (
            open_http2(services, Limits(**limits)) as address,
            grpc.aio.insecure_channel(address, OPTIONS) as channel,
        ):
            await test(channel, services)

    asyncio.run(asyncio.wait_for(open_both(), 60))


async def failure(call: Any) -> grpc.aio.AioRpcError:
    try:
        reply = await call
    except grpc.aio.AioRpcError as error:
        return error
    raise AssertionError(f"answered: {reply[:50]!r}")


@pytest.mark.parametrize("size", [0, 1, 65_530, 65_535, 65_536, 1_000_003])
def test_what_is_sent_comes_back(size: int) -> None:
    content = bytes(index % 251 for index in range(size))

    async def test(channel: Any, _services: EchoServices) -> None:
        assert await channel.unary_unary("/test/Echo")(content) == content

    run(test)


def test_a_hundred_megabytes_go_both_ways() -> None:
    content = b"0123456789" * (LARGE // 10)

    async def test(channel: Any, _services: EchoServices) -> None:
        assert await channel.unary_unary("/test/Echo")(content) == content

    run(test, max_receive_bytes=LARGE)


def test_many_calls_at_once_on_one_connection_get_their_own_answers() -> None:
    async def test(channel: Any, _services: EchoServices) -> None:
        echo = channel.unary_unary("/test/Echo")
        sizes = [(number * 7919) % 50_000 for number in range(500)]
        replies = await asyncio.gather(*(echo(b"%d" % size + bytes(size)) for size in sizes))
        assert [int(reply.rstrip(b"\0")) for reply in replies] == sizes

    run(test, max_concurrent_streams=100)


@pytest.mark.parametrize("code", [code for code in Code if code != Code.OK])
def test_a_status_and_its_text_arrive_as_they_are(code: Code) -> None:
    async def test(channel: Any, _services: EchoServices) -> None:
        error = await failure(channel.unary_unary("/test/Fail")(b"%d" % code))
        assert (error.code().value[0], error.details()) == (code, MESSAGE)

    run(test)


def test_metadata_reaches_the_handler_and_binary_values_as_bytes() -> None:
    async def test(channel: Any, _services: EchoServices) -> None:
        sent = (("x-text", "a b"), ("x-data-bin", b"\x00\xff="), ("x-text", "second"))
        reply = eval(await channel.unary_unary("/test/Metadata")(b"", metadata=sent))  # noqa: S307 -- our own repr
        assert {("x-text", "a b"), ("x-text", "second"), ("x-data-bin", b"\x00\xff=")} <= set(reply)
        names = {name for name, _ in reply}
        assert "user-agent" in names
        assert not names & {"te", "content-type", "grpc-timeout", "grpc-accept-encoding", "grpc-encoding"}

    run(test)


def test_a_refusal_brings_its_metadata() -> None:
    async def test(channel: Any, _services: EchoServices) -> None:
        error = await failure(channel.unary_unary("/test/Echo")(b"", metadata=[("token", "bad")]))
        assert (error.code(), error.details()) == (grpc.StatusCode.UNAUTHENTICATED, "no token")
        assert ("why", "bad") in tuple(error.trailing_metadata())

    run(test)


def test_a_method_that_nobody_knows_is_unimplemented() -> None:
    async def test(channel: Any, _services: EchoServices) -> None:
        error = await failure(channel.unary_unary("/test/Nope")(b""))
        assert error.code() == grpc.StatusCode.UNIMPLEMENTED
        assert "Method not found!" in error.details()

    run(test)


def test_a_fault_in_a_handler_is_internal_and_logged_without_its_details_on_the_wire(caplog: Any) -> None:
    async def test(channel: Any, _services: EchoServices) -> None:
        error = await failure(channel.unary_unary("/test/Break")(b""))
        assert error.code() == grpc.StatusCode.INTERNAL
        assert "secret" not in error.details()
        assert "secret detail" in caplog.text

    run(test)


@pytest.mark.parametrize("compression", [grpc.Compression.Gzip, grpc.Compression.Deflate])
def test_compressed_messages_are_read(compression: Any) -> None:
    content = bytes(3_000_000)

    async def test(channel: Any, _services: EchoServices) -> None:
        assert await channel.unary_unary("/test/Echo")(content, compression=compression) == content
        error = await failure(channel.unary_unary("/test/Echo")(content + b"x", compression=compression))
        assert error.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
        assert error.details() == "Decompressed message larger than max (3000000)"

    run(test, max_receive_bytes=3_000_000)


def test_messages_beyond_the_limit_are_refused_both_ways() -> None:
    async def test(channel: Any, _services: EchoServices) -> None:
        error = await failure(channel.unary_unary("/test/Echo")(bytes(2_000_001)))
        assert error.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
        assert error.details() == "Received message larger than max (2000001 vs. 2000000)"
        error = await failure(channel.unary_unary("/test/Grow")(b"3000001"))
        assert error.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
        assert error.details() == "Sent message larger than max (3000001 vs. 3000000)"
        assert len(await channel.unary_unary("/test/Grow")(b"3000000")) == 3_000_000

    run(test, max_receive_bytes=2_000_000, max_send_bytes=3_000_000)


def test_a_deadline_reaches_the_handler_and_ends_it() -> None:
    async def test(channel: Any, services: EchoServices) -> None:
        hold = channel.unary_unary("/test/Hold")
        error = await failure(hold(b"", timeout=0.2))
        assert error.code() == grpc.StatusCode.DEADLINE_EXCEEDED
        while not services.cancelled:
            await asyncio.sleep(0.01)
        services.gate.set()
        assert 4 < float(await hold(b"time", timeout=5)) < 5.1, "which the client rounds"
        assert await hold(b"time") == b"None"

    run(test)


def test_a_call_that_is_cancelled_or_whose_client_leaves_ends_its_handler() -> None:
    async def test(channel: Any, services: EchoServices) -> None:
        for number in (1, 2):
            call = channel.unary_unary("/test/Hold")(b"")
            while services.started < number:
                await asyncio.sleep(0.01)
            if number == 1:
                call.cancel()
            else:
                await channel.close()
            while services.cancelled < number:
                await asyncio.sleep(0.01)

    run(test)


def test_streams_answer_each_message_and_end_with_their_status() -> None:
    async def test(channel: Any, _services: EchoServices) -> None:
        call = channel.stream_stream("/test/Chat")()
        for content in (b"", b"a", bytes(200_000), b"fail"):
            await call.write(content)
            assert await call.read() == content
        assert await call.code() == grpc.StatusCode.ABORTED
        assert await call.details() == "as asked"
        replies = [reply async for reply in channel.stream_stream("/test/Chat")(iter([b"1", b"2"]))]
        assert replies == [b"1", b"2"]
        assert [reply async for reply in channel.stream_stream("/test/Silent")(iter([b"1"]))] == []

    run(test)


def test_a_client_that_sends_faster_than_the_handler_reads_is_held_up() -> None:
    messages = [bytes(100_000)] * 300

    async def test(channel: Any, services: EchoServices) -> None:
        sent = 0

        async def send() -> Any:
            nonlocal sent
            for content in messages:
                yield content
                sent += 1

        call = channel.stream_unary("/test/Listen")(send())
        while not services.taken:
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.5)
        assert sent < 100, "a window of 1 MB, and what the client itself buffers"
        services.gate.set()
        assert int(await call) == 30_000_000
        assert sent == 300

    run(test, stream_window_bytes=1_000_000)


def test_the_synchronous_client_is_answered_too() -> None:
    async def with_address() -> None:
        services = EchoServices()
        async with open_http2(services) as address:

            def ask() -> tuple[bytes, list[bytes]]:
                with grpc.insecure_channel(address) as own:
                    echoed = own.unary_unary("/test/Echo")(b"x", timeout=10)
                    return echoed, list(own.stream_stream("/test/Chat")(iter([b"1", b"2"]), timeout=10))

            assert await asyncio.to_thread(ask) == (b"x", [b"1", b"2"])

    asyncio.run(asyncio.wait_for(with_address(), 30))
