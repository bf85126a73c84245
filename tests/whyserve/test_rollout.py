import asyncio
import json
import socket
import threading

import pytest

from tests.whyserve.conftest import run_whyserve
from tests.whyserve.peer import Peer, plan
from whyserve.benchmark.steady import run


async def load(peer, connections=2):
    async with peer as port:
        return (await run([plan(port, connections=connections)], port))["rest"]


def test_the_load_ends_when_the_server_is_not_ready_any_more():
    figures = asyncio.run(load(Peer()))
    assert figures["answered"] >= 20
    assert figures["failed"] == 0
    assert 0 < figures["p50_ms"] <= figures["max_ms"]


def test_requests_that_fail_are_counted_and_shown_and_the_load_goes_on():
    peer = Peer(fails=5)
    figures = asyncio.run(load(peer))
    assert figures["failed"] == peer.requests // 5
    assert figures["answered"] == peer.requests - figures["failed"]
    assert "Expected status 200" in figures["failures"][0]
    assert "503" in figures["failures"][0]
    assert len(figures["failures"]) <= 5


def test_a_server_that_is_gone_fails_requests_and_ends_the_load():
    listener = socket.create_server(("127.0.0.1", 0))
    port = listener.getsockname()[1]

    def accept_once_and_go():
        for _ in range(2):  # the load's connection, and its look at readiness
            listener.accept()[0].close()
        listener.close()

    thread = threading.Thread(target=accept_once_and_go)
    thread.start()
    figures = asyncio.run(run([plan(port, connections=1)], port))["rest"]
    thread.join()
    assert figures["answered"] == 0
    assert figures["failed"] >= 1


@pytest.mark.slow
def test_no_request_fails_while_versions_are_swapped_and_the_server_drains(repository):
    options = ("--swaps", 3, "--connections", 8, "--json")
    report = json.loads(run_whyserve("rollout", repository / "digits", *options).stdout)
    assert report["failed"] == 0
    assert report["exit_status"] == 0
    assert len(report["swap_s"]) == 3
    assert {name: api["answered"] > 50 for name, api in report["apis"].items()} == {"rest": True, "grpc": True}


@pytest.mark.slow
def test_latencies_are_measured_while_another_model_comes_and_goes(repository):
    options = ("--beside", repository / "digits", "--seconds", 0.5, "--rate", 50, "--json")
    report = json.loads(run_whyserve("rollout", repository / "digits", *options).stdout)
    assert report["requests"] == 5 * 25
    assert len(report["load_s"]) >= 5
    for latencies in (report["quiet"], report["loading"]):
        assert 0 < latencies["p50_ms"] <= latencies["p99_ms"] <= latencies["max_ms"]
