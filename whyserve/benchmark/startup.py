"""How fast a server starts, and how much memory it takes."""

import http.client
import statistics
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from serving.types import DEFAULT_SIGNATURE
from whyserve.benchmark.cores import Cores
from whyserve.benchmark.generator import generate, make_plan, rest_plan
from whyserve.benchmark.machine import resident_mb
from whyserve.benchmark.served import FLAGS
from whyserve.client.rest import instances
from whyserve.errors import CommandError
from whyserve.process import ServerProcess

POLL_S = 0.005
LOAD_S, LOAD_PER_S, LOAD_CONNECTIONS = 0.5, 400.0, 8


@dataclass(frozen=True)
class Startup:
    """From starting the process to its first answer, and its memory then and after a load, in MB."""

    engine: str
    first_answer_s: float
    first_answers_s: tuple[float, ...]
    resident_mb: float
    resident_after_load_mb: float
    resident_peak_mb: float


def measure_start(
    model: Path, name: str, inputs: Mapping[str, np.ndarray], *, engine: str, log: Path, times: int, cores: Cores
) -> Startup:
    """Starts the server several times, and asks it until it answers.

    Args:
        model: The model's folder.
        name: Its name.
        inputs: One example.
        engine: The engine's name.
        log: Where the server's output goes.
        times: How often.
        cores: Where the load generator runs.

    Returns:
        The median time; memory of the last start, before and after 200 predictions over 8 connections.
    """
    body = instances(inputs)
    seconds = []
    for _ in range(times):
        with ServerProcess(model, name, log=log, engine=engine, flags=FLAGS) as server:
            _ask_until_answered(server, body)
            seconds.append(time.monotonic() - server.started_at)
            now, _ = resident_mb(server.pid)
            plan = rest_plan(server, DEFAULT_SIGNATURE, inputs)
            load = make_plan(
                plan,
                connections=LOAD_CONNECTIONS,
                seconds=LOAD_S,
                rate_per_s=LOAD_PER_S,
                cores=cores.generator,
            )
            generate(load)
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
