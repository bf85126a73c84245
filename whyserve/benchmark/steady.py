"""Steady load in a process of its own, until the server isn't ready any more: `python -m whyserve.benchmark.steady`.

It behaves as a load balancer with many clients behind it: it keeps every connection busy, asks `/readyz` all the time,
sends nothing more once that fails, and waits for what was sent. A request that isn't answered, or not with success,
is counted as failed, and the load goes on.
"""

import asyncio
import contextlib
import json
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from whyserve.benchmark.load import Connection, Plan, open_grpc, open_rest, percentiles

READY_PATH = "/readyz"
POLL_S = 0.02
# A server that hangs must not hang the benchmark; far above what a request waits in a full queue.
REQUEST_TIMEOUT_S = 60.0
_SHOWN_FAILURES = 5


@dataclass
class Tally:
    """What became of the requests of one API."""

    answered: int = 0
    failed: int = 0
    failures: list[str] = field(default_factory=list)
    latencies: list[float] = field(default_factory=list)

    def fail(self, error: Exception) -> None:
        """Counts a failure; the first few are kept word for word."""
        self.failed += 1
        if len(self.failures) < _SHOWN_FAILURES:
            self.failures.append(f"{type(error).__name__}: {error}"[:300])

    def figures(self, seconds: float) -> dict[str, Any]:
        """Ready for JSON."""
        return {
            "answered": self.answered,
            "failed": self.failed,
            "failures": self.failures,
            "requests_per_s": self.answered / seconds,
            **percentiles(self.latencies),
        }


async def run(plans: Sequence[Plan], ready_port: int) -> dict[str, Any]:
    """Sends until readiness fails; what became of the requests, by API."""
    stop = asyncio.Event()
    started = time.perf_counter()
    tallies = {plan.api: Tally() for plan in plans}
    workers = []
    for plan in plans:
        connect = open_rest if plan.api == "rest" else open_grpc
        again = _reconnecting(connect, plan)
        workers += [_work(each, again, tallies[plan.api], stop) for each in await connect(plan)]
    await asyncio.gather(_watch(plans[0].host, ready_port, stop), *workers)
    seconds = time.perf_counter() - started
    return {api: tally.figures(seconds) for api, tally in tallies.items()}


def _reconnecting(
    connect: Callable[[Plan], Awaitable[Sequence[Connection]]], plan: Plan
) -> Callable[[], Awaitable[Connection]]:
    single = Plan(**{**asdict(plan), "connections": 1})

    async def again() -> Connection:
        return (await connect(single))[0]

    return again


async def _work(
    connection: Connection, again: Callable[[], Awaitable[Connection]], tally: Tally, stop: asyncio.Event
) -> None:
    while not stop.is_set():
        start = time.perf_counter()
        try:
            await asyncio.wait_for(connection.send(), REQUEST_TIMEOUT_S)
        except Exception as error:  # noqa: BLE001 -- whatever a request meets is what this process is there to count
            tally.fail(error)
            await connection.close()
            with contextlib.suppress(OSError):
                connection = await again()
            continue
        tally.answered += 1
        tally.latencies.append(time.perf_counter() - start)
    await connection.close()


async def _watch(host: str, port: int, stop: asyncio.Event) -> None:
    """Asks for readiness on a connection of its own, anew each time, as load balancers do."""
    request = f"GET {READY_PATH} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode()
    while not stop.is_set():
        try:
            reader, writer = await asyncio.open_connection(host, port)
            writer.write(request)
            ready = (await reader.readline()).startswith(b"HTTP/1.1 200")
            writer.close()
            await writer.wait_closed()
        except OSError:
            ready = False
        if not ready:
            stop.set()
        await asyncio.sleep(POLL_S)


def main() -> int:
    """Reads the plans, sends the load, writes the figures as JSON."""
    import uvloop

    content = json.load(sys.stdin)
    figures = uvloop.run(run([Plan(**plan) for plan in content["plans"]], content["ready_port"]))
    json.dump(figures, sys.stdout)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
