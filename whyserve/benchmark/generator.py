"""Starts the load generator: what it sends over each API, and the figures that it gives back."""

import json
import subprocess
import sys
from base64 import b64encode
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from serving.grpc.tensors import encode_tensor
from serving.protos.predict_pb2 import PredictRequest
from serving.types import DEFAULT_SIGNATURE, EXPLAIN_SIGNATURE
from whyserve.benchmark.load import Plan
from whyserve.client.rest import instances
from whyserve.errors import CommandError
from whyserve.process import ServerProcess

GRPC_METHOD = "/tensorflow.serving.PredictionService/Predict"
VERBS = {DEFAULT_SIGNATURE: "predict", EXPLAIN_SIGNATURE: "explain"}
# What a load may take beyond the time that it measures.
TIMEOUT_S = 120.0


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


def make_plan(
    request: Mapping[str, str],
    *,
    connections: int,
    seconds: float = 0.0,
    rate_per_s: float = 0.0,
    cores: Sequence[int] = (),
) -> Plan:
    """A plan for the load generator, of what `rest_plan` or `grpc_plan` gave."""
    return Plan(
        request["api"],
        "127.0.0.1",
        int(request["port"]),
        request["path"],
        request["body"],
        connections=connections,
        seconds=seconds,
        rate_per_s=rate_per_s,
        cores=tuple(cores),
    )


def generate(plan: Plan) -> dict[str, float]:
    """Sends a load from another process; figures as `whyserve.benchmark.load.Load.figures` gives them.

    Raises:
        CommandError: A request failed, or was not answered in time.
    """
    figures: dict[str, float] = _run(plan)["figures"]
    return figures


def measure_latencies(plan: Plan) -> list[float]:
    """Sends a load from another process; the latency of each request in seconds.

    Raises:
        CommandError: A request failed, or was not answered in time.
    """
    latencies: list[float] = _run(plan)["latencies"]
    return latencies


def _run(plan: Plan) -> dict[str, Any]:
    command = [sys.executable, "-m", "whyserve.benchmark.load"]
    limit_s = 2 * plan.seconds + TIMEOUT_S
    try:
        result = subprocess.run(
            command, input=json.dumps(asdict(plan)), capture_output=True, text=True, timeout=limit_s, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise CommandError(f"The load on {plan.path} was not answered within {limit_s:g} s.") from error
    if result.returncode != 0:
        raise CommandError(f"The load on {plan.path} failed: {result.stderr.strip().splitlines()[-1]}")
    content: dict[str, Any] = json.loads(result.stdout)
    return content
