"""Version swaps and a drain under steady load: does a single request fail?"""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from urllib.request import urlopen

from export.manifest import load_manifest
from serving.types import DEFAULT_SIGNATURE
from whyserve.benchmark.generator import grpc_plan, make_plan, rest_plan
from whyserve.benchmark.inputs import real_inputs, rows_of
from whyserve.benchmark.machine import Machine, resident_mb
from whyserve.errors import CommandError
from whyserve.process import ServerProcess, interruptible

# Looks often for versions, so that a swap takes no longer than loading; leaves load balancers half a second.
FLAGS = ("--file_system_poll_wait_seconds=0.05", "--drain_delay_s=0.5")
WARM_UP_S = 0.5
# Requests that reach each version before the next one comes.
DWELL_S = 0.2
SWAP_TIMEOUT_S = 120.0
DRAIN_TIMEOUT_S = 120.0
POLL_S = 0.01


@dataclass(frozen=True)
class Api:
    """What became of the requests of one API; latencies in milliseconds."""

    answered: int
    failed: int
    failures: list[str]
    requests_per_s: float
    p50_ms: float
    p90_ms: float
    p99_ms: float
    p999_ms: float
    max_ms: float


@dataclass(frozen=True)
class Rollout:
    """Version swaps and a drain under load.

    Attributes:
        bundle: The version's folder that was copied.
        machine: What it was measured on.
        engine: The engine.
        connections: How many connections were kept busy, half of them REST, half gRPC.
        swaps: How often the version was replaced by the next one.
        swap_s: Seconds of each swap, from the new folder to its first answer.
        apis: What became of the requests.
        exit_status: Of the server, after SIGTERM under load.
        resident_mb: Of the server, after the first and after the last swap.
    """

    bundle: str
    machine: Machine
    engine: str
    connections: int
    swaps: int
    swap_s: tuple[float, ...]
    apis: dict[str, Api]
    exit_status: int
    resident_mb: tuple[float, float]

    @property
    def failed(self) -> int:
        """How many requests failed."""
        return sum(api.failed for api in self.apis.values())


def roll_out(bundle: Path, *, engine: str, swaps: int, connections: int, say: Callable[[str], None]) -> Rollout:
    """Replaces the served version again and again under load, then stops the server under load.

    The versions are copies of one bundle: what is measured is the server, not a difference between models.

    Args:
        bundle: A version's folder.
        engine: The engine's name.
        swaps: How often.
        connections: How many connections are kept busy, at least 2.
        say: Where progress goes.

    Raises:
        CommandError: A version isn't served in time, or the load can't be sent at all.
    """
    name = load_manifest(bundle).name
    inputs = rows_of(real_inputs(bundle), 1)
    with interruptible(), tempfile.TemporaryDirectory(prefix="whyserve-rollout-") as folder:
        model, log = Path(folder) / name, Path(folder) / "server.log"
        _publish(bundle, model, 1)
        with ServerProcess(model, name, log=log, engine=engine, flags=FLAGS) as server:
            server.wait_until_available()
            load = _start_load(server, inputs, connections)
            try:
                time.sleep(WARM_UP_S)
                seconds, memory = [], []
                for version in range(2, swaps + 2):
                    say(f"{engine}: version {version - 1} to {version}")
                    seconds.append(_swap(server, bundle, model, version))
                    memory.append(resident_mb(server.pid)[0])
                say(f"{engine}: drain")
                status = server.stop()
                figures = _finish(load)
            finally:
                load.kill()
    apis = {api: Api(**each) for api, each in figures.items()}
    return Rollout(
        str(bundle), Machine.here(), engine, connections, swaps, tuple(seconds), apis, status, (memory[0], memory[-1])
    )


def _publish(bundle: Path, model: Path, version: int) -> None:
    """Makes a version appear all at once, as publishing a bundle does."""
    model.mkdir(exist_ok=True)
    (model / str(version)).symlink_to(bundle.resolve())


def _swap(server: ServerProcess, bundle: Path, model: Path, version: int) -> float:
    started = time.monotonic()
    _publish(bundle, model, version)
    while _state(server, version) != "AVAILABLE":
        if time.monotonic() - started > SWAP_TIMEOUT_S:
            raise CommandError(f"Version {version} was not served within {SWAP_TIMEOUT_S:g} s.\n{server.log_tail()}")
        time.sleep(POLL_S)
    seconds = time.monotonic() - started
    (model / str(version - 1)).unlink()
    time.sleep(DWELL_S)
    return seconds


def _state(server: ServerProcess, version: int) -> str:
    with urlopen(f"{server.rest_url}/v1/models/{server.name}", timeout=60) as answer:  # noqa: S310  # our own http URL
        states = {each["version"]: each["state"] for each in json.load(answer)["model_version_status"]}
    return str(states.get(str(version), "unknown"))


def _start_load(server: ServerProcess, inputs: Mapping[str, Any], connections: int) -> "subprocess.Popen[str]":
    plans = []
    for make, count in ((rest_plan, connections - connections // 2), (grpc_plan, connections // 2)):
        plan = make(server, DEFAULT_SIGNATURE, inputs)
        plans.append(asdict(make_plan(plan, connections=count)))
    process = subprocess.Popen(
        [sys.executable, "-m", "whyserve.benchmark.steady"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "GRPC_VERBOSITY": "ERROR"},
    )
    if process.stdin is None:
        raise CommandError("Expected a pipe to the load generator. Received: none.")
    json.dump({"plans": plans, "ready_port": server.rest_api_port}, process.stdin)
    process.stdin.close()
    process.stdin = None
    return process


def _finish(load: "subprocess.Popen[str]") -> dict[str, dict[str, Any]]:
    output, errors = load.communicate(timeout=DRAIN_TIMEOUT_S)
    if load.returncode != 0:
        raise CommandError(f"The load failed: {(errors.strip().splitlines() or ['no message'])[-1]}")
    figures: dict[str, dict[str, Any]] = json.loads(output)
    return figures
