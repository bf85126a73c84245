"""Requests per second of a real server on this machine, and the share of what the engine does alone."""

import statistics
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.request import urlopen

import numpy as np
from prometheus_client.parser import text_string_to_metric_families

from serving.batching import BatchLimits
from serving.types import DEFAULT_SIGNATURE
from whyserve.benchmark.cores import Cores
from whyserve.benchmark.generator import VERBS, generate, grpc_plan, make_plan, measure_latencies, rest_plan
from whyserve.benchmark.inputs import rows_of
from whyserve.benchmark.load import percentiles
from whyserve.process import ServerProcess

# No load balancer has to notice that this server goes.
FLAGS = ("--drain_delay_s=0",)
# Served and in process in turn, so that both feel the same disturbances.
ROUNDS = 3
# A measurement of a slow model lasts as long as so many runs of the largest batch that the server joins.
MIN_RUNS = 8
# Nor shorter than this: a busy machine may answer nothing for a while.
MIN_WINDOW_S = 0.25
# More than are ever busy at a rate that the server can bear.
RATE_CONNECTIONS = 64


@dataclass(frozen=True)
class Served:
    """Throughput of one engine, batch, signature and API at saturation; medians of the rounds.

    Attributes:
        batch: Rows of a request.
        rows_per_run: Rows that the engine was given at once: requests that wait together are joined.
        requests_per_s: As served.
        in_process_per_s: What the engine does alone in a loop, on the same cores, with `rows_per_run` rows at once.
        share: `requests_per_s / in_process_per_s`.
        shares: The share of each round.
        generator_busy: Share of the time that the load generator was busy; near 1 it is what was measured.
    """

    engine: str
    batch: int
    signature: str
    api: str
    connections: int
    requests: int
    rows_per_run: float
    requests_per_s: float
    in_process_per_s: float
    share: float
    shares: tuple[float, ...]
    generator_busy: float
    p50_ms: float
    p90_ms: float
    p99_ms: float
    p999_ms: float
    max_ms: float


@dataclass(frozen=True)
class Latency:
    """Latencies of predictions at a rate, from when each request was due to its answer, in milliseconds."""

    engine: str
    batch: int
    api: str
    rate_per_s: float
    requests: int
    p50_ms: float
    p90_ms: float
    p99_ms: float
    p999_ms: float
    max_ms: float


def measure_served(
    server: ServerProcess,
    model: Any,
    signature: str,
    inputs: Mapping[str, np.ndarray],
    *,
    connections: int,
    run_s: float,
    budget_s: float,
    cores: Cores,
) -> list[Served]:
    """Keeps a server busy over REST and over gRPC, in turn with runs of the same model in this process.

    Args:
        server: A server that is ready.
        model: The same model, loaded in this process, which keeps to the server's cores.
        signature: `serving_default` or `explain`.
        inputs: The batch that every request carries.
        connections: How many connections are kept busy.
        run_s: Seconds of one run of the batch.
        budget_s: About how many seconds each API, and the runs it is compared with, may take.
        cores: Where the load generator runs.

    Returns:
        One result for each API.
    """
    batch = len(next(iter(inputs.values())))
    joined = max(1, min(connections, BatchLimits().max_batch_size // batch))
    seconds = max(budget_s / ROUNDS, MIN_RUNS * joined * run_s, MIN_WINDOW_S)
    plans = (rest_plan(server, signature, inputs), grpc_plan(server, signature, inputs))
    rounds: dict[str, list[dict[str, float]]] = {}
    for _ in range(ROUNDS):
        for plan in plans:
            before = _batches(server)
            figures = generate(make_plan(plan, connections=connections, seconds=seconds, cores=cores.generator))
            rows, runs = (now - then for now, then in zip(_batches(server), before, strict=True))
            figures["rows_per_run"] = rows / runs
            figures["in_process_per_s"] = _loop(model, signature, inputs, rows=round(rows / runs), seconds=seconds)
            figures["share"] = figures["requests_per_s"] / figures["in_process_per_s"]
            rounds.setdefault(plan["api"], []).append(figures)
    return [
        Served(
            engine=server.engine,
            batch=batch,
            signature=VERBS[signature],
            api=api,
            connections=connections,
            requests=int(sum(each.pop("requests") for each in figures)),
            shares=tuple(each["share"] for each in figures),
            **{name: statistics.median(each[name] for each in figures) for name in figures[0]},
        )
        for api, figures in rounds.items()
    ]


def measure_latency(
    server: ServerProcess,
    inputs: Mapping[str, np.ndarray],
    *,
    rates_per_s: Mapping[str, float],
    budget_s: float,
    cores: Cores,
) -> list[Latency]:
    """Sends predictions at a rate that doesn't wait for answers, so that a slow one delays those after it, as in life.

    Args:
        server: A server that is ready.
        inputs: What every request carries.
        rates_per_s: For `rest` and `grpc`, requests per second.
        budget_s: About how many seconds each load may take.
        cores: Where the load generator runs.

    Returns:
        One result for each API.
    """
    results = []
    for plan in (rest_plan(server, DEFAULT_SIGNATURE, inputs), grpc_plan(server, DEFAULT_SIGNATURE, inputs)):
        rate = rates_per_s[plan["api"]]
        load = make_plan(plan, connections=RATE_CONNECTIONS, seconds=budget_s, rate_per_s=rate, cores=cores.generator)
        latencies = measure_latencies(load)
        rows = len(next(iter(inputs.values())))
        results.append(Latency(server.engine, rows, plan["api"], rate, len(latencies), **percentiles(latencies)))
    return results


def _batches(server: ServerProcess) -> tuple[float, float]:
    """Rows that the engine ran so far, and its runs, as the server's own metrics count them."""
    with urlopen(f"{server.rest_url}/monitoring/prometheus/metrics", timeout=60) as answer:  # noqa: S310  # our own http URL
        families = text_string_to_metric_families(answer.read().decode())
    totals = {"whyserve_batch_rows_sum": 0.0, "whyserve_batch_rows_count": 0.0}
    for family in families:
        for sample in family.samples:
            if sample.name in totals:
                totals[sample.name] += sample.value
    rows, runs = totals.values()
    return rows, runs


def _loop(model: Any, signature: str, inputs: Mapping[str, np.ndarray], *, rows: int, seconds: float) -> float:
    """Requests per second of the engine alone, if it is given `rows` rows at once."""
    given = rows_of(inputs, rows)
    names = list(model.signatures[signature].outputs)

    def run() -> None:
        model.run(signature, given, names)

    run()  # memory for a batch of this size
    runs, start = 0, time.perf_counter()
    while (passed := time.perf_counter() - start) < seconds:
        run()
        runs += 1
    return runs * rows / len(next(iter(inputs.values()))) / passed
