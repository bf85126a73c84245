"""Does one model answer as fast while another is loaded and unloaded beside it?"""

import http.client
import json
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from os import sched_getaffinity
from pathlib import Path
from urllib.request import urlopen

from export.manifest import load_manifest
from serving.types import DEFAULT_SIGNATURE
from whyserve.benchmark.cores import Cores, pinned
from whyserve.benchmark.generator import make_plan, measure_latencies, rest_plan
from whyserve.benchmark.inputs import real_inputs, rows_of
from whyserve.benchmark.load import percentiles
from whyserve.benchmark.machine import Machine, resident_mb
from whyserve.errors import CommandError
from whyserve.process import ServerProcess, interruptible

FLAGS = ("--drain_delay_s=0", "--enable_admin_api")
ROUNDS = 5
# More than are ever busy at a rate that the server can bear.
CONNECTIONS = 32
LOAD_TIMEOUT_S = 120.0
POLL_S = 0.02
_NEIGHBOUR = "neighbour"


@dataclass(frozen=True)
class Beside:
    """Latencies of one model over REST at a rate, from when each request was due, in milliseconds.

    Attributes:
        bundle: The version's folder that is asked.
        other: The version's folder that is loaded and unloaded.
        machine: What it was measured on.
        cores: Which cores what ran on.
        engine: The engine.
        rate_per_s: Requests per second.
        requests: How many were sent in each of the two cases.
        quiet: Percentiles while nothing is loaded.
        loading: Percentiles while the other model is loaded and unloaded all the time.
        load_s: Seconds that each load took.
        resident_mb: Of the server, after the first and after the last unload.
    """

    bundle: str
    other: str
    machine: Machine
    cores: Cores
    engine: str
    rate_per_s: float
    requests: int
    quiet: dict[str, float]
    loading: dict[str, float]
    load_s: tuple[float, ...]
    resident_mb: tuple[float, float]


def measure_beside(
    bundle: Path, other: Path, *, engine: str, rate_per_s: float, window_s: float, say: Callable[[str], None]
) -> Beside:
    """Sends requests at a rate, in turn while nothing happens and while another model comes and goes.

    Args:
        bundle: A version's folder, the model that is asked.
        other: A version's folder, the model that is loaded.
        engine: The engine's name.
        rate_per_s: Requests per second.
        window_s: Seconds of each of the windows that take turns.
        say: Where progress goes.

    Raises:
        CommandError: A request failed, or the other model isn't served in time.
    """
    name = load_manifest(bundle).name
    cores = Cores.divide(list(sched_getaffinity(0)))
    machine = Machine.here()
    latencies: dict[str, list[float]] = {"quiet": [], "loading": []}
    with interruptible(), pinned(cores.server), tempfile.TemporaryDirectory(prefix="whyserve-beside-") as folder:
        model, neighbour, log = (Path(folder) / each for each in (name, _NEIGHBOUR, "server.log"))
        for base, version in ((model, bundle), (neighbour, other)):
            base.mkdir()
            (base / "1").symlink_to(version.resolve())
        with ServerProcess(model, name, log=log, engine=engine, flags=FLAGS) as server:
            server.wait_until_available()
            plan = make_plan(
                rest_plan(server, DEFAULT_SIGNATURE, rows_of(real_inputs(bundle), 1)),
                connections=CONNECTIONS,
                seconds=window_s,
                rate_per_s=rate_per_s,
                cores=cores.generator,
            )
            loads = _Loads(server, neighbour)
            for number in range(ROUNDS):
                say(f"{engine}: window {number + 1} of {ROUNDS}")
                latencies["quiet"] += measure_latencies(plan)
                with loads.coming_and_going():
                    latencies["loading"] += measure_latencies(plan)
    return Beside(
        bundle=str(bundle),
        other=str(other),
        machine=machine,
        cores=cores,
        engine=engine,
        rate_per_s=rate_per_s,
        requests=len(latencies["quiet"]),
        quiet=percentiles(latencies["quiet"]),
        loading=percentiles(latencies["loading"]),
        load_s=tuple(loads.seconds),
        resident_mb=(loads.memory_mb[0], loads.memory_mb[-1]),
    )


@dataclass
class _Loads:
    """Loads and unloads a model, again and again."""

    server: ServerProcess
    base_path: Path
    seconds: list[float] = field(default_factory=list)
    memory_mb: list[float] = field(default_factory=list)
    _stop: threading.Event = field(default_factory=threading.Event)
    _errors: list[Exception] = field(default_factory=list)

    @contextmanager
    def coming_and_going(self) -> Iterator[None]:
        """Goes on until the block ends, and waits for the last one to be gone.

        Raises:
            CommandError: One failed.
        """
        self._stop.clear()
        thread = threading.Thread(target=self._repeat)
        thread.start()
        try:
            yield
        finally:
            self._stop.set()
            thread.join()
        if self._errors:
            raise CommandError(f"The other model could not be loaded: {self._errors[0]}")

    def _repeat(self) -> None:
        try:
            while not self._stop.is_set():
                started = time.monotonic()
                self._ask("PUT", json.dumps({"base_path": str(self.base_path)}))
                self.seconds.append(time.monotonic() - started)
                self._ask("DELETE")
                self._wait_until_unloaded()
                self.memory_mb.append(resident_mb(self.server.pid)[0])
        except (OSError, http.client.HTTPException, CommandError) as error:
            self._errors.append(error)

    def _wait_until_unloaded(self) -> None:
        deadline = time.monotonic() + LOAD_TIMEOUT_S
        while self._state() != "END":
            if time.monotonic() > deadline:
                raise CommandError(f"It was not unloaded within {LOAD_TIMEOUT_S:g} s")
            time.sleep(POLL_S)

    def _state(self) -> str:
        url = f"{self.server.rest_url}/v1/models/{_NEIGHBOUR}"
        with urlopen(url, timeout=LOAD_TIMEOUT_S) as answer:  # noqa: S310  # our own http URL
            return str(json.load(answer)["model_version_status"][0]["state"])

    def _ask(self, method: str, body: str | None = None) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self.server.rest_api_port, timeout=LOAD_TIMEOUT_S)
        try:
            connection.request(method, f"/v1/admin/models/{_NEIGHBOUR}", body)
            answer = connection.getresponse()
            if answer.status != http.client.OK:
                raise CommandError(f"Expected status 200. Received: {answer.status} {answer.read(300)!r}")
        finally:
            connection.close()
