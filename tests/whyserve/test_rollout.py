import asyncio
import json
import socket
import threading
import time

import pytest

from tests.whyserve.conftest import run_whyserve
from whyserve.benchmark.load import Plan, generate
from whyserve.benchmark.steady import run

ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"
FAILURE = b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 2\r\n\r\n{}"
EMPTY_BODY = ""


class Peer:
    """An HTTP peer of a few lines that is ready until `answers` requests were answered, and fails every `fails`-th.

    Args:
        answers: After so many requests `/readyz` fails.
        fails: Every so many requests one gets 503; 0: none.
        delay_s: Seconds that the first request has to wait.
    """

    def __init__(self, *, answers=20, fails=0, delay_s=0.0):
        self.requests = 0
        self._answers, self._fails, self._delay_s = answers, fails, delay_s
        self._connections = []

    async def _serve(self, reader, writer):
        self._connections.append(asyncio.current_task())
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                if b"/readyz" in head:
                    writer.write(ANSWER if self.requests < self._answers else FAILURE)
                    return
                self.requests += 1
                if self.requests == 1:
                    await asyncio.sleep(self._delay_s)
                failing = self._fails and self.requests % self._fails == 0
                writer.write(FAILURE if failing else ANSWER)
        except (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            pass  # the load, or the test, is over
        finally:
            writer.close()

    async def __aenter__(self):
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        return self._server.sockets[0].getsockname()[1]

    async def __aexit__(self, *_):
        self._server.close()
        for connection in self._connections:
            connection.cancel()
        await asyncio.gather(*self._connections)


def plan(port, **options):
    return Plan("rest", "127.0.0.1", port, "/v1/models/m:predict", EMPTY_BODY, **options)


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


def test_at_a_rate_requests_that_were_due_while_one_was_slow_count_as_late():
    async def measured():
        async with Peer(delay_s=0.3, answers=100) as port:
            # The warm-up takes the slow request: three requests a connection go before the measured ones.
            return await generate(plan(port, connections=1, requests=20, rate_per_s=100.0))

    start = time.monotonic()
    figures = asyncio.run(measured())
    assert time.monotonic() - start >= 0.3 + 19 / 100
    assert figures["max_ms"] < 150  # none of the measured ones was slow, and they didn't all go at once
    assert figures["requests_per_s"] < 120


@pytest.mark.slow
def test_no_request_fails_while_versions_are_swapped_and_the_server_drains(repository):
    options = ("--swaps", 3, "--connections", 8, "--json")
    report = json.loads(run_whyserve("rollout", repository / "digits", *options).stdout)
    assert report["failed"] == 0
    assert report["exit_status"] == 0
    assert len(report["swap_s"]) == 3
    assert {name: api["answered"] > 50 for name, api in report["apis"].items()} == {"rest": True, "grpc": True}
