"""Requests per second beside servers written by hand: `python -m tests.benchmarks.peers REPOSITORY/NAME`.

The bundle's model must have one float32 input and one float32 output. The servers take turns on one core, the load
generator has another. Figures compare within one run.
"""

import argparse
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

from export.manifest import load_manifest
from serving.types import DEFAULT_SIGNATURE
from whyserve.benchmark.cores import Cores, pinned
from whyserve.benchmark.generator import generate, grpc_plan, make_plan, rest_plan
from whyserve.benchmark.inputs import real_inputs, rows_of
from whyserve.process import ServerProcess, free_ports

START_TIMEOUT_S = 30
OURS = "whyserve"
# API: what is compared on it; the first is what the others are held against.
SERVERS = {"grpc": (OURS, "grpcio", "grpc.aio"), "rest": (OURS, "asgi")}


@dataclass(frozen=True)
class Target:
    """A running server, as the plans of a load name it."""

    name: str
    port: int
    rest_api_port: int


@contextmanager
def running(kind, bundle, name, folder):
    """One of the servers, on the cores of the caller."""
    if kind == OURS:
        flags = ["--num_threads=1", "--drain_delay_s=0"]
        with ServerProcess(bundle.parent, name, log=folder / "log", flags=flags) as server:
            server.wait_until_available()
            yield server
        return
    (port,) = free_ports(1)
    command = [sys.executable, "-m", "tests.benchmarks.peer_servers", kind, str(bundle / "predict.onnx"), str(port)]
    process = subprocess.Popen(command)
    try:
        wait_until_listening(port)
        yield Target(name, port, port)
    finally:
        process.kill()
        process.wait()


def wait_until_listening(port):
    """Raises TimeoutError where nobody does in time."""
    end = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < end:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
        except OSError:
            time.sleep(0.05)
        else:
            return
    raise TimeoutError(f"Nothing listens on port {port} after {START_TIMEOUT_S} s.")


def measure(bundle, *, connections, seconds, rounds):
    """Requests per second of each server in each round, by API and kind."""
    name = load_manifest(bundle).name
    inputs = rows_of(real_inputs(bundle), 1)
    cores = Cores.divide(list(os.sched_getaffinity(0)))
    rates = {(api, kind): [] for api, kinds in SERVERS.items() for kind in kinds}
    with pinned(cores.server[:1]), tempfile.TemporaryDirectory() as folder:
        for _ in range(rounds):
            for (api, kind), each in rates.items():
                with running(kind, bundle, name, Path(folder)) as server:
                    plan = (grpc_plan if api == "grpc" else rest_plan)(server, DEFAULT_SIGNATURE, inputs)
                    load = make_plan(plan, connections=connections, seconds=seconds, cores=cores.generator)
                    each.append(generate(load)["requests_per_s"])
    return rates


def main():
    """Prints a table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("bundle", type=Path, help="a version's folder, or REPOSITORY/NAME for version 1")
    parser.add_argument("--connections", type=int, default=32)
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    bundle = options.bundle if (options.bundle / "manifest.json").is_file() else options.bundle / "1"
    rates = measure(bundle, connections=options.connections, seconds=options.seconds, rounds=options.rounds)
    table = Table("API", "server", "requests per second", "ours against it")
    for (api, kind), each in rates.items():
        ratios = [ours / its for ours, its in zip(rates[api, OURS], each, strict=True)]
        figures = f"{statistics.median(each):,.0f} ({min(each):,.0f} to {max(each):,.0f})"
        table.add_row(api, kind, figures, f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})")
    Console(width=100).print(table)


if __name__ == "__main__":
    main()
