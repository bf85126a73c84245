"""The load generator, a process of its own: `python -m whyserve.benchmark.load`. Reads a plan from standard input.

It sends the same bytes over several connections that are kept open, and does as little else as it can.
"""

import asyncio
import contextlib
import itertools
import json
import math
import os
import sys
import time
from base64 import b64decode
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass

from whyserve.benchmark.grpc_connection import GoneAwayError, GrpcConnection

OK = b"HTTP/1.1 200"
LENGTH = b"content-length:"
# As a share of the measured time, before it: connections that all start at once need a while to fall out of step.
_WARM_UP = 0.25


@dataclass(frozen=True)
class Connection:
    """A connection that is kept open.

    Args:
        send: Sends the request and waits for its answer.
        close: Ends the connection.
    """

    send: Callable[[], Awaitable[None]]
    close: Callable[[], Awaitable[None]]


@dataclass(frozen=True)
class Plan:
    """What to send, and how often.

    Args:
        api: `rest` or `grpc`.
        host: The server.
        port: Its port for this API.
        path: The URL's path, or gRPC's method.
        body: The request body, base64.
        connections: How many connections to keep busy.
        seconds: How long to measure, the warm-up not counted.
        rate_per_s: Requests are sent at this rate whether or not earlier ones were answered, and a latency counts from
            when the request was due; 0: each connection sends when its last request was answered.
        cores: The cores that the load generator keeps to; none: any.
    """

    api: str
    host: str
    port: int
    path: str
    body: str
    connections: int
    seconds: float = 0.0
    rate_per_s: float = 0.0
    cores: Sequence[int] = ()


@dataclass(frozen=True)
class Answer:
    """When an answer came and how long it took, in seconds of `time.perf_counter`."""

    at: float
    latency: float


@dataclass(frozen=True)
class Load:
    """What came of a load.

    Attributes:
        latencies: Of each request that counts, in seconds.
        requests_per_s: Answers a second.
        busy: Share of the time that this process was busy.
    """

    latencies: list[float]
    requests_per_s: float
    busy: float

    def figures(self) -> dict[str, float]:
        """Requests, their rate and latencies."""
        return {
            "requests": len(self.latencies),
            "requests_per_s": self.requests_per_s,
            "generator_busy": self.busy,
            **percentiles(self.latencies),
        }


async def generate(plan: Plan) -> Load:
    """Sends the load."""
    open_connections = open_rest if plan.api == "rest" else open_grpc
    connections = await open_connections(plan)
    send = _send_at_rate if plan.rate_per_s else _saturate
    started, busy = time.perf_counter(), time.process_time()
    answers, requests_per_s = await send(connections, plan)
    share = (time.process_time() - busy) / (time.perf_counter() - started)
    await asyncio.gather(*(each.close() for each in connections))
    return Load([each.latency for each in answers], requests_per_s, share)


async def _saturate(connections: Sequence[Connection], plan: Plan) -> tuple[list[Answer], float]:
    """Keeps every connection busy from before the measured time until after it: neither has a start or an end in it."""
    await asyncio.gather(*(each.send() for each in connections))
    answers = [Answer(time.perf_counter(), 0.0)]  # the last of these: it doesn't count, but time may count from it
    begin = time.perf_counter() + _WARM_UP * plan.seconds
    end = begin + plan.seconds
    await asyncio.gather(*(_work_until(end, each, answers) for each in connections))
    return steady_rate(answers, begin, end)


def steady_rate(answers: Sequence[Answer], begin: float, end: float) -> tuple[list[Answer], float]:
    """The answers between two times, and how many a second.

    Answers come in bursts, a batch at once: time counts from the last answer before `begin` to the last before `end`,
    so that it holds whole bursts.

    Raises:
        RuntimeError: There is no answer before `begin`, or none after it.
    """
    before = max((each.at for each in answers if each.at <= begin), default=None)
    counted = [each for each in answers if begin < each.at <= end]
    if before is None or not counted:
        raise RuntimeError(f"Expected answers before and within {end - begin:g} s. Measure for more seconds.")
    return counted, len(counted) / (max(each.at for each in counted) - before)


async def _send_at_rate(connections: Sequence[Connection], plan: Plan) -> tuple[list[Answer], float]:
    for each in connections:
        await each.send()
    answers: list[Answer] = []
    counter = itertools.islice(itertools.count(), math.ceil(plan.seconds * plan.rate_per_s))
    start = time.perf_counter()
    await asyncio.gather(*(_work_at(each, counter, answers, start, plan.rate_per_s) for each in connections))
    return answers, len(answers) / (time.perf_counter() - start)


def percentiles(latencies: Sequence[float]) -> dict[str, float]:
    """Percentiles of latencies in seconds, in milliseconds; all 0 where there are none."""
    ordered = sorted(latencies) or [0.0]
    shares = {"p50_ms": 0.5, "p90_ms": 0.9, "p99_ms": 0.99, "p999_ms": 0.999, "max_ms": 1.0}
    last = len(ordered) - 1
    return {name: 1000 * ordered[min(last, int(share * len(ordered)))] for name, share in shares.items()}


async def _work_until(end: float, connection: Connection, answers: list[Answer]) -> None:
    while (start := time.perf_counter()) < end:
        await connection.send()
        at = time.perf_counter()
        answers.append(Answer(at, at - start))


async def _work_at(
    connection: Connection, counter: Iterator[int], answers: list[Answer], start: float, rate_per_s: float
) -> None:
    """One connection of a load with a rate: a request that had to wait for a free connection counts as late."""
    for number in counter:
        due = start + number / rate_per_s
        await asyncio.sleep(max(0.0, due - time.perf_counter()))
        await connection.send()
        at = time.perf_counter()
        answers.append(Answer(at, at - due))


async def open_rest(plan: Plan) -> Sequence[Connection]:
    """Connections that speak HTTP/1.1 and are kept alive."""
    body = b64decode(plan.body)
    lines = (f"POST {plan.path} HTTP/1.1", f"Host: {plan.host}", "Content-Type: application/json")
    request = "\r\n".join((*lines, f"Content-Length: {len(body)}", "", "")).encode() + body
    return [
        _rest_connection(*await asyncio.open_connection(plan.host, plan.port), request) for _ in range(plan.connections)
    ]


def _rest_connection(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, request: bytes) -> Connection:
    async def send() -> None:
        writer.write(request)
        head = await reader.readuntil(b"\r\n\r\n")
        length = next(int(line[len(LENGTH) :]) for line in head.lower().split(b"\r\n") if line.startswith(LENGTH))
        body = await reader.readexactly(length)
        if not head.startswith(OK):
            raise RuntimeError(f"Expected status 200. Received: {head.splitlines()[0]!r} {body[:300]!r}")

    async def close() -> None:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()

    return Connection(send, close)


async def open_grpc(plan: Plan) -> Sequence[Connection]:
    """Connections that speak gRPC, and are opened anew when the server closes them between two calls."""
    body = b64decode(plan.body)

    async def connect() -> GrpcConnection:
        return await GrpcConnection.open(plan.host, plan.port, plan.path, body)

    return [_grpc_connection(await connect(), connect) for _ in range(plan.connections)]


def _grpc_connection(first: GrpcConnection, connect: Callable[[], Awaitable[GrpcConnection]]) -> Connection:
    current = first

    async def send() -> None:
        nonlocal current
        try:
            await current.call()
        except GoneAwayError:
            current = await connect()
            await current.call()

    async def close() -> None:
        await current.close()

    return Connection(send, close)


def main() -> int:
    """Reads the plan, sends the load, writes figures and latencies as JSON."""
    import uvloop

    plan = Plan(**json.load(sys.stdin))
    if plan.cores:
        os.sched_setaffinity(0, plan.cores)
    load = uvloop.run(generate(plan))
    json.dump({"figures": load.figures(), "latencies": load.latencies}, sys.stdout)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
