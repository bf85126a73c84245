"""The whole benchmark: both engines, several batch sizes, in process and served."""

import os
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from export.manifest import load_manifest
from serving.engines.base import LoadedModel
from serving.engines.registry import create_engine
from serving.types import DEFAULT_SIGNATURE, EXPLAIN_SIGNATURE
from whyserve.benchmark.cores import Cores, pinned
from whyserve.benchmark.in_process import InProcess, measure
from whyserve.benchmark.inputs import real_inputs, rows_of
from whyserve.benchmark.json_cost import Parsing, measure_parsing
from whyserve.benchmark.machine import Machine
from whyserve.benchmark.memory import Memory, measure_memory
from whyserve.benchmark.served import FLAGS, Latency, Served, measure_latency, measure_served
from whyserve.benchmark.startup import Startup, measure_start
from whyserve.process import ServerProcess, interruptible

ENGINES = ("onnxruntime", "tensorflow")
BATCHES = (1, 8, 32)
STARTS = 3
# TensorFlow, on a core that it may have to share with others.
START_TIMEOUT_S = 240.0
# The share of the most that it can take at which a server is usually run.
_USUAL_LOAD = 0.5


@dataclass(frozen=True)
class Report:
    """Everything that was measured, and on what."""

    bundle: str
    machine: Machine
    cores: Cores
    in_process: list[InProcess]
    served: list[Served]
    latency: list[Latency]
    parsing: list[Parsing]
    start: Startup
    memory: Memory | None


@dataclass(frozen=True)
class Benchmark:
    """A benchmark of one bundle.

    Args:
        bundle: A version's folder.
        say: Where progress goes.
        engines: Which engines.
        batches: Rows of a request.
        budget_s: Seconds for each engine and batch in process, and for each load.
        connections: How many connections a load keeps busy.
        rate_per_s: Requests per second for the latencies; None: half of what each API could take.
    """

    bundle: Path
    say: Callable[[str], None]
    engines: Sequence[str] = ENGINES
    batches: Sequence[int] = BATCHES
    budget_s: float = 1.5
    connections: int = 8
    rate_per_s: float | None = None

    def run(self) -> Report:
        """Measures everything."""
        machine, cores = Machine.here(), Cores.divide(list(os.sched_getaffinity(0)))
        name = load_manifest(self.bundle).name
        sample = real_inputs(self.bundle)
        in_process: list[InProcess] = []
        served: list[Served] = []
        latency: list[Latency] = []
        with interruptible(), pinned(cores.server), _repository(self.bundle, name) as (model, log):
            self.say(f"{ENGINES[0]}: start to first answer, and memory")
            start = measure_start(
                model, name, rows_of(sample, 1), engine=ENGINES[0], log=log, times=STARTS, cores=cores
            )
            self.say(f"{ENGINES[0]}: memory of predictions alone, and of both")
            memory = measure_memory(self.bundle, rows_of(sample, 1), log=log)
            for engine in self.engines:
                with (
                    _loaded(engine, self.bundle) as loaded,
                    ServerProcess(model, name, log=log, engine=engine, flags=FLAGS) as server,
                ):
                    server.wait_until_available(START_TIMEOUT_S)
                    times = self._measure_engine(loaded, engine, sample)
                    loads = [one for each in times for one in self._measure_server(server, loaded, each, sample, cores)]
                    latency += self._measure_latency(server, loads, sample, cores)
                    in_process += times
                    served += loads
            parsing = measure_parsing()
        return Report(str(self.bundle), machine, cores, in_process, served, latency, parsing, start, memory)

    def _measure_engine(self, loaded: LoadedModel, engine: str, sample: Mapping[str, np.ndarray]) -> list[InProcess]:
        results = []
        for batch in self.batches:
            self.say(f"{engine}, batch {batch}: in process")
            results.append(measure(loaded, engine, rows_of(sample, batch), budget_s=self.budget_s))
        return results

    def _measure_server(
        self,
        server: ServerProcess,
        loaded: LoadedModel,
        times: InProcess,
        sample: Mapping[str, np.ndarray],
        cores: Cores,
    ) -> list[Served]:
        results = []
        for signature, spread in ((DEFAULT_SIGNATURE, times.predict_ms), (EXPLAIN_SIGNATURE, times.explain_ms)):
            if spread is None:
                continue
            self.say(f"{times.engine}, batch {times.batch}: served, {signature}")
            results += measure_served(
                server,
                loaded,
                signature,
                rows_of(sample, times.batch),
                connections=self.connections,
                run_s=spread.median / 1000,
                budget_s=self.budget_s,
                cores=cores,
            )
        return results

    def _measure_latency(
        self, server: ServerProcess, loads: Sequence[Served], sample: Mapping[str, np.ndarray], cores: Cores
    ) -> list[Latency]:
        batch = self.batches[0]
        most = {one.api: one.requests_per_s for one in loads if (one.batch, one.signature) == (batch, "predict")}
        rates = {api: self.rate_per_s or rate * _USUAL_LOAD for api, rate in most.items()}
        self.say(
            f"{server.engine}, batch {batch}: latencies at " + ", ".join(f"{r:.0f}/s {a}" for a, r in rates.items())
        )
        return measure_latency(server, rows_of(sample, batch), rates_per_s=rates, budget_s=self.budget_s, cores=cores)


@contextmanager
def _loaded(engine: str, bundle: Path) -> Iterator[LoadedModel]:
    """The bundle in this process."""
    loaded = create_engine(engine).load(bundle)
    try:
        yield loaded
    finally:
        loaded.close()


@contextmanager
def _repository(bundle: Path, name: str) -> Iterator[tuple[Path, Path]]:
    """A model's folder that holds this version only, and a file for the server's output."""
    with tempfile.TemporaryDirectory(prefix="whyserve-benchmark-") as folder:
        model = Path(folder) / name
        model.mkdir()
        (model / bundle.resolve().name).symlink_to(bundle.resolve())
        yield model, Path(folder) / "server.log"
