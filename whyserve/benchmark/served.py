"""Requests per second of a real server on this machine, and how fast it starts and how much memory it takes."""

import http.client
import json
import statistics
import subprocess
import sys
import time
from base64 import b64encode
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from serving.grpc.tensors import encode_tensor
from serving.protos.predict_pb2 import PredictRequest
from serving.types import DEFAULT_SIGNATURE, EXPLAIN_SIGNATURE
from whyserve.benchmark.load import Plan
from whyserve.benchmark.machine import resident_mb
from whyserve.client.rest import instances
from whyserve.errors import CommandError
from whyserve.process import ServerProcess

GRPC_METHOD = "/tensorflow.serving.PredictionService/Predict"
VERBS = {DEFAULT_SIGNATURE: "predict", EXPLAIN_SIGNATURE: "explain"}
# No load balancer has to notice that this server goes.
FLAGS = ("--drain_delay_s=0",)
MIN_REQUESTS = 50
# More than are ever busy at a rate that the server can bear.
RATE_CONNECTIONS = 64
LOAD_TIMEOUT_S = 120.0
POLL_S = 0.005


@dataclass(frozen=True)
class Served:
    """Throughput of one engine, batch, signature and API."""

    engine: str
    batch: int
    signature: str
    api: str
    connections: int
    requests: int
    requests_per_s: float
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


@dataclass(frozen=True)
class Startup:
    """From starting the process to its first answer, and its memory then and after the load, in MB."""

    engine: str
    first_answer_s: float
    first_answers_s: tuple[float, ...]
    resident_mb: float
    resident_after_load_mb: float
    resident_peak_mb: float


def measure_served(
    server: ServerProcess,
    engine: str,
    signature: str,
    inputs: Mapping[str, np.ndarray],
    *,
    connections: int,
    expected_per_s: float,
    budget_s: float,
) -> list[Served]:
    """Sends a bounded load over REST and over gRPC from another process.

    Args:
        server: A server that is ready.
        engine: The engine's name.
        signature: `serving_default` or `explain`.
        inputs: The batch that every request carries.
        connections: How many connections are kept busy.
        expected_per_s: The in-process figure, from which the number of requests follows.
        budget_s: About how many seconds each load may take.

    Returns:
        One result for each API.
    """
    requests = max(MIN_REQUESTS, int(expected_per_s * budget_s))
    batch = len(next(iter(inputs.values())))
    results = []
    for plan in (rest_plan(server, signature, inputs), grpc_plan(server, signature, inputs)):
        figures = _generate(make_plan(plan, connections=connections, requests=requests))
        results.append(Served(engine, batch, VERBS[signature], plan["api"], connections, requests, **figures))
    return results


def measure_latency(
    server: ServerProcess, inputs: Mapping[str, np.ndarray], *, rates_per_s: Mapping[str, float], budget_s: float
) -> list[Latency]:
    """Sends predictions at a rate that doesn't wait for answers, so that a slow one delays those after it, as in life.

    Args:
        server: A server that is ready.
        inputs: What every request carries.
        rates_per_s: For `rest` and `grpc`, requests per second.
        budget_s: About how many seconds each load may take.

    Returns:
        One result for each API.
    """
    results = []
    for plan in (rest_plan(server, DEFAULT_SIGNATURE, inputs), grpc_plan(server, DEFAULT_SIGNATURE, inputs)):
        rate = rates_per_s[plan["api"]]
        requests = max(MIN_REQUESTS, int(rate * budget_s))
        figures = _generate(make_plan(plan, connections=RATE_CONNECTIONS, requests=requests, rate_per_s=rate))
        figures.pop("requests_per_s")
        results.append(Latency(server.engine, len(next(iter(inputs.values()))), plan["api"], rate, requests, **figures))
    return results


def rest_plan(server: ServerProcess, signature: str, inputs: Mapping[str, np.ndarray]) -> dict[str, str]:
    """What the load generator sends over REST."""
    path = f"/v1/models/{server.name}:{VERBS[signature]}"
    return {
        "api": "rest",
        "port": str(server.rest_api_port),
        "path": path,
        "body": b64encode(instances(inputs)).decode(),
    }


def grpc_plan(server: ServerProcess, signature: str, inputs: Mapping[str, np.ndarray]) -> dict[str, str]:
    """What the load generator sends over gRPC."""
    request = PredictRequest()
    request.model_spec.name = server.name
    request.model_spec.signature_name = signature
    for name, array in inputs.items():
        encode_tensor(array, request.inputs[name], tensor_content=True)
    body = b64encode(request.SerializeToString()).decode()
    return {"api": "grpc", "port": str(server.port), "path": GRPC_METHOD, "body": body}


def make_plan(request: Mapping[str, str], *, connections: int, requests: int = 0, rate_per_s: float = 0.0) -> Plan:
    """A plan for the load generator, of what `rest_plan` or `grpc_plan` gave."""
    return Plan(
        request["api"],
        "127.0.0.1",
        int(request["port"]),
        request["path"],
        request["body"],
        connections=connections,
        requests=requests,
        rate_per_s=rate_per_s,
    )


def _generate(plan: Plan) -> dict[str, float]:
    content = asdict(plan)
    command = [sys.executable, "-m", "whyserve.benchmark.load"]
    result = subprocess.run(
        command, input=json.dumps(content), capture_output=True, text=True, timeout=LOAD_TIMEOUT_S, check=False
    )
    if result.returncode != 0:
        raise CommandError(f"The load on {plan.path} failed: {result.stderr.strip().splitlines()[-1]}")
    figures: dict[str, float] = json.loads(result.stdout)
    return figures


def measure_start(
    model: Path, name: str, inputs: Mapping[str, np.ndarray], *, engine: str, log: Path, times: int
) -> Startup:
    """Starts the server several times, and asks it until it answers.

    Args:
        model: The model's folder.
        name: Its name.
        inputs: One example.
        engine: The engine's name.
        log: Where the server's output goes.
        times: How often.

    Returns:
        The median time; memory of the last start, before and after 500 more predictions.
    """
    body = instances(inputs)
    seconds = []
    for _ in range(times):
        with ServerProcess(model, name, log=log, engine=engine, flags=FLAGS) as server:
            _ask_until_answered(server, body)
            seconds.append(time.monotonic() - server.started_at)
            now, _ = resident_mb(server.pid)
            _generate(make_plan(rest_plan(server, DEFAULT_SIGNATURE, inputs), connections=8, requests=500))
            after, peak = resident_mb(server.pid)
    return Startup(engine, statistics.median(seconds), tuple(seconds), now, after, peak)


def _ask_until_answered(server: ServerProcess, body: bytes, timeout_s: float = 60.0) -> None:
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        connection = http.client.HTTPConnection("127.0.0.1", server.rest_api_port, timeout=timeout_s)
        try:
            connection.request("POST", f"/v1/models/{server.name}:predict", body)
            if connection.getresponse().status == http.client.OK:
                return
        except OSError:
            pass  # nobody listens yet
        finally:
            connection.close()
        time.sleep(POLL_S)
    raise CommandError(f"The server did not answer within {timeout_s:.0f} s.\n{server.log_tail()}")
