"""The load generator, a process of its own: `python -m whyserve.benchmark.load`. Reads a plan from standard input.

It sends the same bytes over several connections that are kept open, and does as little else as it can: on a small
machine it shares the processor with the server.
"""

import asyncio
import itertools
import json
import sys
import time
from base64 import b64decode
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

OK = b"HTTP/1.1 200"
LENGTH = b"content-length:"
# Each sends one request and waits for its answer.
Send = Callable[[], Awaitable[None]]


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
        requests: How many requests to send in all, the warm-up not counted.
    """

    api: str
    host: str
    port: int
    path: str
    body: str
    connections: int
    requests: int


async def generate(plan: Plan) -> dict[str, float]:
    """Keeps every connection busy until all requests are answered; requests per second and latencies."""
    open_connections = open_rest if plan.api == "rest" else open_grpc
    senders = await open_connections(plan)
    await asyncio.gather(*(_work(send, iter(range(3)), []) for send in senders))
    counter = itertools.islice(itertools.count(), plan.requests)
    latencies: list[float] = []
    start = time.perf_counter()
    await asyncio.gather(*(_work(send, counter, latencies) for send in senders))
    seconds = time.perf_counter() - start
    latencies.sort()
    return {
        "requests_per_s": plan.requests / seconds,
        "median_ms": 1000 * latencies[len(latencies) // 2],
        "p99_ms": 1000 * latencies[min(len(latencies) - 1, len(latencies) * 99 // 100)],
    }


async def _work(send: Send, counter: Iterator[int], latencies: list[float]) -> None:
    """One connection: takes the next request off the common counter."""
    for _ in counter:
        start = time.perf_counter()
        await send()
        latencies.append(time.perf_counter() - start)


async def open_rest(plan: Plan) -> Sequence[Send]:
    """Connections that speak HTTP/1.1 and are kept alive."""
    body = b64decode(plan.body)
    lines = (f"POST {plan.path} HTTP/1.1", f"Host: {plan.host}", "Content-Type: application/json")
    request = "\r\n".join((*lines, f"Content-Length: {len(body)}", "", "")).encode() + body
    return [
        _rest_sender(*await asyncio.open_connection(plan.host, plan.port), request) for _ in range(plan.connections)
    ]


def _rest_sender(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, request: bytes) -> Send:
    async def send() -> None:
        writer.write(request)
        head = await reader.readuntil(b"\r\n\r\n")
        length = next(int(line[len(LENGTH) :]) for line in head.lower().split(b"\r\n") if line.startswith(LENGTH))
        body = await reader.readexactly(length)
        if not head.startswith(OK):
            raise RuntimeError(f"Expected status 200. Received: {head.splitlines()[0]!r} {body[:300]!r}")

    return send


async def open_grpc(plan: Plan) -> Sequence[Send]:
    """Channels that don't share a connection."""
    import grpc.aio

    options = [("grpc.use_local_subchannel_pool", 1), ("grpc.max_receive_message_length", -1)]
    channels = [grpc.aio.insecure_channel(f"{plan.host}:{plan.port}", options=options) for _ in range(plan.connections)]
    body = b64decode(plan.body)
    return [_grpc_sender(channel.unary_unary(plan.path), body) for channel in channels]


def _grpc_sender(call: Any, request: bytes) -> Send:
    async def send() -> None:
        await call(request)

    return send


def main() -> int:
    """Reads the plan, sends the load, writes the figures as JSON."""
    import uvloop

    figures = uvloop.run(generate(Plan(**json.load(sys.stdin))))
    json.dump(figures, sys.stdout)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
