"""Limits of a whole server, each over REST and over gRPC where it applies."""

import asyncio
import gzip

import grpc
import httpx
import numpy as np
import pytest

from serving.batching import BatchLimits
from serving.errors import ServingError
from serving.rest.json_text import check_depth
from tests.serving.grpc.servers import predict_request
from tests.serving.models import RecordingModel
from tests.serving.security.servers import BODY, URL, ask_grpc, grpc_error, make_options, rest, run, running
from tests.serving.test_manager import HeldEngine
from tests.serving.test_server import HOST

HEALTH = "/grpc.health.v1.Health/Check"


@pytest.fixture
def held(monkeypatch) -> RecordingModel:
    """The model of every server in the test; clear its gate to hold it up."""
    model = RecordingModel(signature_names=["serving_default"])
    monkeypatch.setattr("serving.setup.create_engine", lambda *_, **__: HeldEngine(model))
    monkeypatch.setattr("serving.setup.BatchLimits", lambda *given: BatchLimits(*given, inline_limit_s=0.0))
    return model


async def hold(model: RecordingModel, client: httpx.AsyncClient) -> "asyncio.Task[httpx.Response]":
    """A request that the engine is busy with."""
    model.gate.clear()
    model.entered.clear()
    busy = asyncio.create_task(client.post(URL, json=BODY))
    await asyncio.to_thread(model.entered.wait, 10)
    return busy


def test_one_request_too_many_is_refused_at_once_and_health_answers(tmp_path, held):
    options = make_options(tmp_path, max_concurrent_requests=2)

    async def test() -> None:
        async with running(options), rest(options) as client, rest(options) as other:
            busy = await hold(held, client)
            second = asyncio.create_task(ask_grpc(options))
            await asyncio.sleep(0.1)
            refused = await other.post(URL, json=BODY)
            assert (refused.status_code, refused.headers["retry-after"]) == (429, "1")
            assert "The server is full: 2 requests are being answered" in refused.json()["error"]
            error = await grpc_error(options)
            assert error.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
            assert ("grpc-retry-pushback-ms", "1000") in tuple(error.trailing_metadata())
            assert (await other.get("/readyz")).status_code == 200
            assert (await other.get("/monitoring/prometheus/metrics")).status_code == 200
            await ask_grpc(options, method=HEALTH, request=b"")
            held.gate.set()
            assert (await busy).status_code == 200
            await second
            for _ in range(3):
                assert (await other.post(URL, json=BODY)).status_code == 200, "those that left made room"
                await ask_grpc(options)
            assert (await grpc_error(options, request=b"\xff")).code() == grpc.StatusCode.INVALID_ARGUMENT
            assert (await other.post(URL, json=BODY)).status_code == 200, "so does one that failed"

    run(test)


def test_a_full_queue_refuses_at_once_over_both(tmp_path, held):
    options = make_options(tmp_path, max_queued_requests=1)

    async def test() -> None:
        async with running(options), rest(options) as client, rest(options) as other:
            busy = await hold(held, client)
            queued = asyncio.create_task(ask_grpc(options))
            await asyncio.sleep(0.1)
            refused = await other.post(URL, json=BODY)
            assert (refused.status_code, refused.headers["retry-after"]) == (429, "1")
            error = await grpc_error(options)
            assert error.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
            assert "is full: 1 requests wait" in error.details()
            held.gate.set()
            assert (await busy).status_code == 200
            await queued

    run(test)


def test_a_request_whose_deadline_passed_leaves_the_queue_and_is_never_run(tmp_path, held):
    options = make_options(tmp_path, rest_api_timeout_in_ms=300)

    async def test() -> None:
        async with running(options) as server, rest(options) as client, rest(options) as other:
            busy = await hold(held, client)
            runs = len(held.batches)
            late = asyncio.create_task(other.post(URL, json=BODY))
            error = await grpc_error(options, timeout=0.2)
            assert error.code() == grpc.StatusCode.DEADLINE_EXCEEDED
            assert (await late).status_code == 504
            assert (await busy).status_code == 504
            text = server.metrics.expose().decode()
            queued = [line for line in text.splitlines() if line.startswith("whyserve_queued_requests{")]
            assert queued
            assert all(line.endswith(" 0.0") for line in queued)
            held.gate.set()
            await asyncio.sleep(0.1)
            assert len(held.batches) == runs

    run(test)


def test_a_message_may_be_as_large_as_the_limit_as_sent_and_inflated(tmp_path):
    options = make_options(tmp_path, max_request_bytes=100_000, max_inflated_bytes=200_000)
    large = predict_request({"x": np.zeros((1, 30_000), np.float32)}, name="dense").SerializeToString()
    bomb = bytes(50_000_000)

    async def test() -> None:
        async with running(options), rest(options) as client:
            for content in (b"x" * 100_001, b"x" * 1_000_000):
                reply = await client.post(URL, content=content)
                assert reply.status_code == 413
                assert "A body may be 100000 bytes sent" in reply.json()["error"]
            reply = await client.post(URL, content=gzip.compress(bomb), headers={"Content-Encoding": "gzip"})
            assert reply.status_code == 413
            assert "A body may be 200000 bytes inflated" in reply.json()["error"]
            error = await grpc_error(options, request=large)
            assert error.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
            assert "larger than max" in error.details()
            error = await grpc_error(options, request=bomb, compression=grpc.Compression.Gzip)
            assert error.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
            assert "ecompressed message larger than max" in error.details()
            assert (await client.post(URL, json=BODY)).status_code == 200

    run(test)


@pytest.mark.parametrize("max_json_depth", [3, 8, 1024])
def test_a_document_may_be_as_deep_as_the_limit(tmp_path, max_json_depth):
    options = make_options(tmp_path, max_json_depth=max_json_depth)

    async def test() -> None:
        async with running(options), rest(options) as client:
            flat = '{"note": "[[[[[[[[[[[[{", "instances": [[0, 1, 2, 3]]}'
            assert (await client.post(URL, content=flat)).status_code == 200, "brackets in a string are none"
            for depth in (max_json_depth, max_json_depth + 1, 2000):
                lists = depth - 1
                reply = await client.post(URL, content='{"instances":' + "[" * lists + "0" + "]" * lists + "}")
                assert reply.status_code == 400
                assert ("nested too deep" in reply.text) == (depth > max_json_depth), depth

    run(test)


def test_depth_is_counted_in_what_is_well_formed_and_what_is_not():
    for text, depth in (('{"a": [[1], [2]]}', 3), ('["]", "\\"]", [[', 3), ('["[[[[', 1), ("]]]][[", 0)):
        check_depth(text.encode() + b" " * 20, max(depth, 1))
        if depth > 1:
            with pytest.raises(ServingError, match=f"may have {depth - 1} levels. Received: {depth}"):
                check_depth(text.encode(), depth - 1)


def test_a_connection_too_many_is_told_so_and_health_answers(tmp_path):
    options = make_options(tmp_path, max_connections=1)

    async def test() -> None:
        async with running(options), rest(options) as client:
            assert (await client.post(URL, json=BODY)).status_code == 200
            async with rest(options) as other:
                refused = await other.post(URL, json=BODY)
                assert (refused.status_code, refused.headers["retry-after"]) == (429, "1")
                assert refused.headers["connection"] == "close"
                assert "The server is full: 1 connections are open" in refused.json()["error"]
                assert (await other.get("/readyz")).status_code == 200
            assert (await client.post(URL, json=BODY)).status_code == 200
            await client.aclose()
            async with rest(options) as other:
                assert (await other.post(URL, json=BODY)).status_code == 200, "the place of one that has left is free"
            async with grpc.aio.insecure_channel(f"{HOST}:{options.port}") as channel:
                await channel.unary_unary(HEALTH)(b"", timeout=10)
                refused = await asyncio.wait_for(grpc_error(options), 5)  # a greeted client would try again for ever
                assert refused.code() == grpc.StatusCode.UNAVAILABLE

    run(test)


def test_arguments_of_grpc_reach_its_core(tmp_path):
    options = make_options(tmp_path, grpc_channel_arguments="grpc.max_receive_message_length=10,grpc.unknown=text")

    async def test() -> None:
        async with running(options):
            error = await grpc_error(options)
            assert error.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
            assert "larger than max" in error.details()

    run(test)


def test_a_draining_server_is_unavailable_over_both(tmp_path):
    options = make_options(tmp_path, drain_delay_s=0.5)

    async def test() -> None:
        async with running(options) as server, rest(options) as client:
            server.stop()
            await asyncio.sleep(0.1)
            reply = await client.get("/readyz")
            assert reply.status_code == 503
            assert reply.headers["retry-after"] == "1"
            status = await ask_grpc(options, method=HEALTH, request=b"")
            assert status == b"\x08\x02", "NOT_SERVING"
            assert (await client.post(URL, json=BODY)).status_code == 200, (
                "what comes before the ports close is answered"
            )
            await asyncio.sleep(1)
            assert (await grpc_error(options)).code() == grpc.StatusCode.UNAVAILABLE

    run(test)
