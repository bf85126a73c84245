"""Frames that are right, wrong and hostile, from a client that sends what it likes."""

import asyncio
import gzip
import random
import struct
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from hyperframe.frame import (
    ContinuationFrame,
    HeadersFrame,
    PingFrame,
    PriorityFrame,
    PushPromiseFrame,
    RstStreamFrame,
    SettingsFrame,
    WindowUpdateFrame,
)

from serving.grpc.http2.errors import ErrorCode
from serving.grpc.http2.limits import Limits
from tests.serving.grpc.http2.echo import EchoServices
from tests.serving.grpc.http2.raw import PREFACE, RawClient, connect, message
from tests.serving.grpc.servers import open_http2

CALM, PROTOCOL, FLOW, SIZE = (
    ErrorCode.ENHANCE_YOUR_CALM,
    ErrorCode.PROTOCOL_ERROR,
    ErrorCode.FLOW_CONTROL_ERROR,
    ErrorCode.FRAME_SIZE_ERROR,
)
DEFAULT_WINDOW = 65_535


def run(
    test: Callable[[RawClient, EchoServices], Awaitable[None]], settings: dict[str, int] | None = None, **limits: Any
) -> None:
    """A server with its echo services, and a connection to it; in the end the server still answers others."""

    async def open_both() -> None:
        services = EchoServices()
        async with open_http2(services, Limits(**limits)) as address:
            async with connect(address, **(settings or {})) as client:
                await test(client, services)
            if not limits.get("max_connections"):
                async with connect(address) as other:
                    await other.check_alive(1)

    asyncio.run(asyncio.wait_for(open_both(), 60))


def test_what_the_server_allows_is_said_at_once() -> None:
    async def test(client: RawClient, _services: EchoServices) -> None:
        settings = (await client.until(SettingsFrame)).settings
        assert settings[SettingsFrame.MAX_CONCURRENT_STREAMS] == 7
        assert settings[SettingsFrame.INITIAL_WINDOW_SIZE] == 1_000_000
        assert settings[SettingsFrame.MAX_HEADER_LIST_SIZE] == 5000
        update = await client.until(WindowUpdateFrame)
        assert (update.stream_id, update.window_increment) == (0, 2_000_000 - DEFAULT_WINDOW)
        assert "ACK" in (await client.until(SettingsFrame)).flags

    limits = {"stream_window_bytes": 1_000_000, "connection_window_bytes": 2_000_000, "max_metadata_bytes": 5000}
    run(test, max_concurrent_streams=7, **limits)


def test_a_call_byte_by_byte_is_answered() -> None:
    async def test(client: RawClient, _services: EchoServices) -> None:
        content = client.headers(1).serialize() + client.data(1, message(b"slowly")).serialize()
        for index in range(len(content)):
            client.send(content[index : index + 1])
            await asyncio.sleep(0)
        fields, reply = await client.reply()
        assert reply == message(b"slowly")
        assert (fields[":status"], fields["content-type"], fields["grpc-status"]) == ("200", "application/grpc", "0")

    run(test)


def test_headers_in_pieces_padding_and_priority_are_understood() -> None:
    async def test(client: RawClient, _services: EchoServices) -> None:
        whole = client.headers(1, extra=[("x-long", "v" * 500)]).data
        first = HeadersFrame(1, whole[:10], pad_length=20, depends_on=0, stream_weight=3, exclusive=False)
        first.flags |= {"PADDED", "PRIORITY"}
        pieces = [ContinuationFrame(1, whole[start : start + 100]) for start in range(10, len(whole), 100)]
        pieces[-1].flags.add("END_HEADERS")
        data = client.data(1, message(b"padded"))
        data.pad_length = 200
        data.flags.add("PADDED")
        client.send(PriorityFrame(3, depends_on=1), first, *pieces, data)
        assert (await client.reply())[1] == message(b"padded")

    run(test)


def test_trailers_of_a_client_end_its_request() -> None:
    async def test(client: RawClient, _services: EchoServices) -> None:
        trailers = HeadersFrame(1, client.encoder.encode([("x-checksum", "1")]))
        trailers.flags |= {"END_HEADERS", "END_STREAM"}
        client.send(client.headers(1), client.data(1, message(b"x"), last=False), trailers)
        assert (await client.reply())[1] == message(b"x")

    run(test)


def test_a_reply_waits_for_the_client_s_windows() -> None:
    async def test(client: RawClient, _services: EchoServices) -> None:
        client.call(1, "/test/Grow", b"100000")
        client.call(3, content=b"small")
        received = 0
        while received < 1000:
            frame = await client.next()
            received += len(frame.data) if frame.stream_id == 1 and frame.type == 0 else 0
        assert (await client.reply(3))[0].get("grpc-status", "0") == "0", "streams don't wait for each other"
        await client.ping()
        assert received == 1000
        client.send(SettingsFrame(0, {SettingsFrame.INITIAL_WINDOW_SIZE: 500}))  # which makes the window -500
        client.send(WindowUpdateFrame(1, 500))
        await client.ping()
        assert sum(len(frame.data) for frame in client.frames if frame.stream_id == 1 and frame.type == 0) == 1000
        client.send(WindowUpdateFrame(1, 200_000))
        while not (frame.stream_id == 1 and "END_STREAM" in frame.flags):
            frame = await asyncio.wait_for(client.next(), 1) if received < DEFAULT_WINDOW - 10 else None
            if frame is None:
                client.send(WindowUpdateFrame(0, 200_000))
                received, frame = 0, await client.next()
            received += len(frame.data) if frame.type == 0 else 0
        total = sum(len(frame.data) for frame in client.frames if frame.stream_id == 1 and frame.type == 0)
        assert total == 100_005

    run(test, settings={"INITIAL_WINDOW_SIZE": 1000})


def test_frames_of_a_reply_are_as_large_as_the_client_takes() -> None:
    async def test(client: RawClient, _services: EchoServices) -> None:
        client.send(WindowUpdateFrame(0, 1 << 20))
        client.call(1, "/test/Grow", b"200000")
        await client.reply()
        assert max(frame.body_len for frame in client.frames) == 40_000

    run(test, settings={"INITIAL_WINDOW_SIZE": 1 << 20, "MAX_FRAME_SIZE": 40_000})


def test_a_client_without_a_header_table_is_told_that_none_is_used() -> None:
    async def test(client: RawClient, _services: EchoServices) -> None:
        client.decoder.max_allowed_table_size = 0
        client.call(1)
        assert (await client.reply())[0]["grpc-status"] == "0"
        first = next(frame for frame in client.frames if isinstance(frame, HeadersFrame))
        assert first.data[:1] == b"\x20"

    run(test, settings={"HEADER_TABLE_SIZE": 0})


async def _status(client: RawClient, number: int = 1) -> tuple[str, str]:
    fields, _ = await client.reply(number)
    return fields["grpc-status"], fields.get("grpc-message", "")


@pytest.mark.parametrize(
    ("content", "last", "status", "text"),
    [
        (b"", True, "12", "Expected one message. Received: 0."),
        (message(b"a") + message(b"b"), True, "12", "Expected one message. Received: 2."),
        (message(b"abc")[:-1], True, "13", "The request ended in the middle of a message."),
        (b"\0\0", True, "13", "The request ended in the middle of a message."),
        (b"\2\0\0\0\0", True, "13", "A message's first byte must be 0 or 1. Received: 2."),
        (message(b"a", compressed=1), True, "13", "A message is compressed, and `grpc-encoding` doesn't say how."),
        (struct.pack(">BL", 0, 2**32 - 1), False, "8", "Received message larger than max (4294967295 vs. 4194304)"),
    ],
)
def test_messages_that_are_wrong_get_a_status(content: bytes, last: bool, status: str, text: str) -> None:
    async def test(client: RawClient, _services: EchoServices) -> None:
        client.send(client.headers(1), client.data(1, content, last=last))
        assert await _status(client) == (status, text)
        await client.check_alive(3)

    run(test)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"method": "GET"}, {":status": "405"}),
        ({"content_type": "application/json"}, {":status": "415"}),
        ({"content_type": "application/grpcx"}, {":status": "415"}),
        ({"content_type": ""}, {":status": "415"}),
        ({"content_type": "application/grpc+proto"}, {"grpc-status": "0"}),
        ({"grpc_encoding": "snappy"}, {"grpc-status": "12", "grpc-accept-encoding": "identity,deflate,gzip"}),
        ({"grpc_timeout": "soon"}, {"grpc-status": "3"}),
        ({"grpc_timeout": "123456789S"}, {"grpc-status": "3"}),
        ({"grpc_timeout": "0n"}, {"grpc-status": "4"}),
        ({"grpc_timeout": "99999999H"}, {"grpc-status": "0"}),
        ({"x-data-bin": "!"}, {"grpc-status": "3"}),
        ({"connection": "close"}, {"reset": "1"}),
        ({"te": "gzip"}, {"reset": "1"}),
        ({"scheme": ""}, {"reset": "1"}),
        ({"X-Upper": "1"}, {"reset": "1"}),
        ({"x-line": "a\nb"}, {"reset": "1"}),
        ({"x-large": "v" * 20_000}, {"grpc-status": "8"}),
    ],
)
def test_heads_that_are_wrong_get_a_status_or_a_reset(changes: dict[str, str], expected: dict[str, str]) -> None:
    async def test(client: RawClient, _services: EchoServices) -> None:
        path = "/test/Hold" if changes.get("grpc_timeout") == "0n" else "/test/Echo"
        headers = client.headers(1, path, **changes)
        rest = ContinuationFrame(1, headers.data[16_000:])
        if rest.data:
            headers.data = headers.data[:16_000]
            headers.flags.discard("END_HEADERS")
            rest.flags.add("END_HEADERS")
        client.send(headers, *([rest] if rest.data else []), client.data(1, message(b"x")))
        fields, _ = await client.reply()
        assert expected.items() <= fields.items()
        await client.check_alive(3)

    run(test)


def _frame(kind: int, flags: int, stream_id: int, payload: bytes = b"") -> bytes:
    return struct.pack(">HBBBL", len(payload) >> 8, len(payload) & 255, kind, flags, stream_id) + payload


def _continuations(client: RawClient, count: int, size: int) -> list[Any]:
    first = client.headers(1)
    first.flags.discard("END_HEADERS")
    return [first, *(ContinuationFrame(1, b"\0" * size) for _ in range(count))]


WRONG: dict[str, tuple[Callable[[RawClient], list[Any]], ErrorCode]] = {
    "a frame too large": (lambda _: [_frame(0, 0, 1, bytes(16_385))], SIZE),
    "data of no stream": (lambda c: [c.data(1, b"x")], PROTOCOL),
    "data of the connection": (lambda _: [_frame(0, 0, 0, b"x")], PROTOCOL),
    "an even stream": (lambda c: [c.headers(2)], PROTOCOL),
    "headers of the connection": (lambda c: [_frame(1, 4, 0, c.headers(1).data)], PROTOCOL),
    "a block that is none": (lambda _: [_frame(1, 4, 1, b"\xff\xff\xff\xff\xff\xff")], ErrorCode.COMPRESSION_ERROR),
    "an entry that isn't there": (lambda _: [_frame(1, 4, 1, b"\xfe")], ErrorCode.COMPRESSION_ERROR),
    "a table too large": (lambda _: [_frame(1, 4, 1, b"\x3f\xe2\x1f")], ErrorCode.COMPRESSION_ERROR),
    "padding beyond the frame": (lambda _: [_frame(1, 12, 1, b"\x09abc")], PROTOCOL),
    "padding without a length": (lambda _: [_frame(1, 12, 1)], SIZE),
    "something between headers": (lambda c: [*_continuations(c, 1, 1), PingFrame(0, b"12345678")], PROTOCOL),
    "continuation of another": (lambda c: [*_continuations(c, 0, 0), ContinuationFrame(3, b"")], PROTOCOL),
    "continuation of nothing": (lambda _: [ContinuationFrame(1, b"")], PROTOCOL),
    "push": (lambda _: [PushPromiseFrame(1, promised_stream_id=2, data=b"")], PROTOCOL),
    "settings of a stream": (lambda _: [_frame(4, 0, 1)], PROTOCOL),
    "settings of a wrong size": (lambda _: [_frame(4, 0, 0, b"12345")], SIZE),
    "settings ack with content": (lambda _: [_frame(4, 1, 0, b"123456")], SIZE),
    "a window too large": (lambda _: [_frame(4, 0, 0, struct.pack(">HL", 4, 2**31))], FLOW),
    "a frame size too small": (lambda _: [_frame(4, 0, 0, struct.pack(">HL", 5, 100))], PROTOCOL),
    "push neither on nor off": (lambda _: [_frame(4, 0, 0, struct.pack(">HL", 2, 2))], PROTOCOL),
    "more settings than there are": (lambda _: [_frame(4, 0, 0, struct.pack(">HL", 99, 2) * 100)], CALM),
    "a ping of a stream": (lambda _: [_frame(6, 0, 1, bytes(8))], PROTOCOL),
    "a ping of a wrong size": (lambda _: [_frame(6, 0, 0, bytes(7))], SIZE),
    "reset of no stream": (lambda _: [RstStreamFrame(5)], PROTOCOL),
    "reset of a wrong size": (lambda _: [_frame(3, 0, 1, b"abc")], SIZE),
    "no increment": (lambda _: [_frame(8, 0, 0, bytes(4))], PROTOCOL),
    "too much increment": (lambda _: [_frame(8, 0, 0, struct.pack(">L", 2**31 - 1))], FLOW),
    "a window of no stream": (lambda _: [WindowUpdateFrame(5, 1)], PROTOCOL),
    "goaway of a stream": (lambda _: [_frame(7, 0, 1, bytes(8))], PROTOCOL),
    "a flood of continuation": (lambda c: _continuations(c, 100, 0), CALM),
    "a mountain of continuation": (lambda c: _continuations(c, 6, 16_000), CALM),
    "a header bomb": (
        # 4000 bytes into the table, and 10,000 times out of it: 40 MB
        lambda _: [_frame(1, 4, 1, b"\x40\x01a\x7f\xa1\x1e" + b"v" * 4000 + b"\xbe" * 10_000)],
        CALM,
    ),
    "settings without end": (lambda _: [SettingsFrame(0)] * 10_000, CALM),
    "priorities without end": (lambda _: [PriorityFrame(1, depends_on=3)] * 10_000, CALM),
    "frames of an unknown kind": (lambda _: [_frame(99, 0, 0, b"?")] * 10_000, CALM),
    "empty data without end": (lambda c: [c.headers(1), *[c.data(1, b"", last=False)] * 10_000], CALM),
    "headers again and again": (lambda c: [c.headers(1, flags="END_STREAM")] * 10_000, CALM),
    "too many pings": (lambda _: [PingFrame(0, b"12345678")] * 4, CALM),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_breaks_the_rules_or_wastes_ends_the_connection_with_its_reason(name: str) -> None:
    make, code = WRONG[name]

    async def test(client: RawClient, _services: EchoServices) -> None:
        client.send(*make(client))
        received, text = await client.goaway()
        assert received == code
        assert text

    run(test, stream_window_bytes=1 << 20, connection_window_bytes=1 << 17)


def test_rapid_reset_is_stopped_and_holds_no_more_tasks_than_there_may_be_streams() -> None:
    async def test(client: RawClient, services: EchoServices) -> None:
        for number in range(1, 20_001, 2):
            client.call(number, "/test/Hold")
            client.send(RstStreamFrame(number, ErrorCode.CANCEL))
        assert (await client.goaway())[0] == CALM
        assert services.started < 10_000

    run(test)


def test_calls_that_were_taken_back_count_until_their_work_has_ended() -> None:
    async def test(client: RawClient, services: EchoServices) -> None:
        for number in (1, 3):
            client.call(number, "/test/Stubborn")
        while services.started < 2:
            await asyncio.sleep(0.01)
        client.send(RstStreamFrame(1, ErrorCode.CANCEL), RstStreamFrame(3, ErrorCode.CANCEL))
        client.call(5)
        assert (await client.reply(5))[0] == {"reset": str(int(ErrorCode.REFUSED_STREAM))}
        services.gate.set()
        await asyncio.sleep(0.1)
        await client.check_alive(7)

    run(test, max_concurrent_streams=2)


def test_what_is_noted_for_a_call_reaches_its_own_handler_however_calls_are_mixed() -> None:
    async def test(client: RawClient, _services: EchoServices) -> None:
        client.send(
            client.headers(1, "/test/Caller", caller="first"), client.headers(3, "/test/Caller", caller="second")
        )
        client.send(client.headers(5, "/test/Caller"), client.data(1, message(b"")), client.data(3, message(b"")))
        client.send(client.data(5, message(b"")))
        for number, expected in ((1, b"'first'"), (3, b"'second'"), (5, b"None")):
            assert (await client.reply(number))[1] == message(expected)

    run(test)


def test_pings_are_bounded_where_each_one_is_allowed_too() -> None:
    async def test(client: RawClient, _services: EchoServices) -> None:
        client.send(*[PingFrame(0, b"12345678")] * 10_000)
        assert await client.goaway() == (CALM, "Too many PING.")

    run(test, max_ping_strikes=0)


def test_calls_beyond_the_limit_are_refused_and_may_be_sent_again() -> None:
    async def test(client: RawClient, services: EchoServices) -> None:
        for number in (1, 3, 5):
            client.call(number, "/test/Hold")
        refused = await client.until(RstStreamFrame)
        assert (refused.stream_id, refused.error_code) == (5, ErrorCode.REFUSED_STREAM)
        services.gate.set()
        assert (await client.reply(1))[0]["grpc-status"] == "0"
        await client.check_alive(7)

    run(test, max_concurrent_streams=2)


def test_a_call_that_breaks_its_window_is_reset_alone() -> None:
    async def test(client: RawClient, _services: EchoServices) -> None:
        client.send(client.headers(1, "/test/Listen"), client.headers(3))
        client.send(client.data(1, message(b"taken"), last=False))
        await client.ping()
        client.send(*[client.data(1, message(bytes(16_000)), last=False)] * 5)
        assert (await client.reply(1))[0] == {"reset": str(int(FLOW))}
        client.send(_frame(8, 0, 3, struct.pack(">L", 2**31 - 1)))
        assert (await client.reply(3))[0] == {"reset": str(int(FLOW))}
        client.send(client.headers(5, "/test/Hold"), client.data(5, message(b"a")), client.data(5, message(b"b")))
        assert (await client.reply(5))[0] == {"reset": str(int(ErrorCode.STREAM_CLOSED))}
        await client.check_alive(7)

    run(test, stream_window_bytes=1 << 16)


def test_pings_are_answered_and_after_content_no_waste() -> None:
    async def test(client: RawClient, _services: EchoServices) -> None:
        for number in range(1, 41, 2):
            await client.check_alive(number)
            client.send(PingFrame(0, b"%08d" % number))
            frame = await client.until(PingFrame)
            assert (frame.opaque_data, "ACK" in frame.flags) == (b"%08d" % number, True)

    run(test)


def test_a_client_that_takes_nothing_loses_its_calls_and_keeps_its_connection() -> None:
    async def test(client: RawClient, _services: EchoServices) -> None:
        client.call(1)
        client.send(client.headers(3), client.data(3, message(b"never complete")[:-3], last=False))
        for number in (1, 3):
            fields, _ = await client.reply(number)
            assert fields.get("reset") == str(int(ErrorCode.CANCEL)) or fields["grpc-status"] == "1"
        client.send(SettingsFrame(0, {SettingsFrame.INITIAL_WINDOW_SIZE: 1000}))
        await client.check_alive(5)

    run(test, settings={"INITIAL_WINDOW_SIZE": 0}, stall_timeout_s=0.3)


def test_a_stream_that_waits_for_its_client_is_no_stall() -> None:
    async def test(client: RawClient, _services: EchoServices) -> None:
        client.send(client.headers(1, "/test/Chat"))
        await asyncio.sleep(1.2)
        client.send(client.data(1, message(b"late")))
        fields, content = await client.reply()
        assert (fields["grpc-status"], content) == ("0", message(b"late"))

    run(test, stall_timeout_s=0.3)


def test_messages_that_arrive_take_no_more_memory_than_there_is() -> None:
    async def test(client: RawClient, _services: EchoServices) -> None:
        # Four times 100,000 bytes and a window of 65,536: the fifth message that doesn't end is too much.
        prefix = struct.pack(">BL", 0, 100_000)
        for number in range(1, 13, 2):
            client.send(client.headers(number), client.data(number, prefix, last=False))
            client.send(*[client.data(number, bytes(15_000), last=False)] * 6)
        await client.ping()
        refused = [frame.stream_id for frame in client.frames if isinstance(frame, HeadersFrame)]
        assert refused
        assert len(refused) < 6
        client.send(*[RstStreamFrame(number) for number in range(1, 13, 2)])
        await client.check_alive(13)

    run(test, max_receive_bytes=100_000, stream_window_bytes=1 << 20, connection_window_bytes=1 << 16)


def test_a_bomb_of_gzip_is_refused() -> None:
    async def test(client: RawClient, _services: EchoServices) -> None:
        bomb = message(gzip.compress(bytes(50_000_000)), compressed=1)
        client.send(client.headers(1, grpc_encoding="gzip"))
        for start in range(0, len(bomb), 16_000):
            client.send(client.data(1, bomb[start : start + 16_000], last=start + 16_000 >= len(bomb)))
        assert await _status(client) == ("8", "Decompressed message larger than max (1000000)")
        client.send(client.headers(3, grpc_encoding="gzip"), client.data(3, message(b"no gzip", compressed=1)))
        assert (await _status(client, 3))[0] == "13"

    run(test, max_receive_bytes=1_000_000)


@pytest.mark.parametrize(
    ("sent", "expected"),
    [
        (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", b"HTTP/1.1 400 Bad Request\r\n"),
        (b"POST /v1/models/m:predict HTTP/1.1\r\n", b"HTTP/1.1 400 Bad Request\r\n"),
        (b"\x16\x03\x01\x02\x00\x01\x00", b""),
        (b"PRI * HTTP/2.0\r\n\r\nSX\r\n\r\n", b""),
        (bytes(1000), b""),
    ],
)
def test_a_client_that_speaks_something_else_is_told_so_and_left(sent: bytes, expected: bytes) -> None:
    async def test() -> None:
        async with open_http2(EchoServices()) as address:
            host, port = address.rsplit(":", 1)
            reader, writer = await asyncio.open_connection(host, int(port))
            writer.write(sent)
            received = await asyncio.wait_for(reader.read(), 10)
            writer.close()
            if expected:
                assert received[received.index(b"HTTP/1.1") :].startswith(expected)
                assert b"This port speaks gRPC" in received

    asyncio.run(test())


def test_settings_must_come_first() -> None:
    async def test() -> None:
        async with open_http2(EchoServices()) as address:
            host, port = address.rsplit(":", 1)
            client = RawClient(*await asyncio.open_connection(host, int(port)))
            client.send(PREFACE, client.headers(1))
            assert await client.goaway() == (PROTOCOL, "The first frame must be SETTINGS.")
            client.writer.close()

    asyncio.run(test())


def test_a_client_that_never_says_hello_is_left() -> None:
    async def test() -> None:
        async with open_http2(EchoServices(), Limits(stall_timeout_s=0.3)) as address:
            host, port = address.rsplit(":", 1)
            reader, writer = await asyncio.open_connection(host, int(port))
            writer.write(PREFACE[:10])
            await asyncio.wait_for(reader.read(), 10)
            writer.close()

    asyncio.run(test())


def test_random_bytes_end_the_connection_and_nothing_else() -> None:
    rng = random.Random(1)  # noqa: S311 -- the same bytes in every run

    async def test() -> None:
        services = EchoServices()
        async with open_http2(services) as address:
            for _ in range(200):
                async with connect(address) as client:
                    for _ in range(5):
                        kind, flags, stream_id = rng.randrange(11), rng.randrange(256), rng.choice([0, 1, 2, 3])
                        client.send(_frame(kind, flags, stream_id, rng.randbytes(rng.choice([0, 4, 8, 30]))))
                    if rng.random() < 0.5:
                        client.call(99)
            async with connect(address) as client:
                await client.check_alive(1)

    asyncio.run(asyncio.wait_for(test(), 60))
