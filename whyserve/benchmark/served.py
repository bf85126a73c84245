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
    median_ms: float
    p99_ms: float


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
    for plan in (_rest_plan(server, signature, inputs), _grpc_plan(server, signature, inputs)):
        figures = _generate({**plan, "connections": connections, "requests": requests})
        results.append(Served(engine, batch, VERBS[signature], plan["api"], connections, requests, **figures))
    return results


def _rest_plan(server: ServerProcess, signature: str, inputs: Mapping[str, np.ndarray]) -> dict[str, str]:
    path = f"/v1/models/{server.name}:{VERBS[signature]}"
    return {
        "api": "rest",
        "port": str(server.rest_api_port),
        "path": path,
        "body": b64encode(instances(inputs)).decode(),
    }


def _grpc_plan(server: ServerProcess, signature: str, inputs: Mapping[str, np.ndarray]) -> dict[str, str]:
    request = PredictRequest()
    request.model_spec.name = server.name
    request.model_spec.signature_name = signature
    for name, array in inputs.items():
        encode_tensor(array, request.inputs[name], tensor_content=True)
    body = b64encode(request.SerializeToString()).decode()
    return {"api": "grpc", "port": str(server.port), "path": GRPC_METHOD, "body": body}


def _generate(plan: Mapping[str, object]) -> dict[str, float]:
    content = asdict(Plan(host="127.0.0.1", **{**plan, "port": int(str(plan["port"]))}))  # type: ignore[arg-type]
    command = [sys.executable, "-m", "whyserve.benchmark.load"]
    result = subprocess.run(
        command, input=json.dumps(content), capture_output=True, text=True, timeout=LOAD_TIMEOUT_S, check=False
    )
    if result.returncode != 0:
        raise CommandError(f"The load on {plan['path']} failed: {result.stderr.strip().splitlines()[-1]}")
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
            plan = _rest_plan(server, DEFAULT_SIGNATURE, inputs)
            _generate({**plan, "connections": 8, "requests": 500})
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
