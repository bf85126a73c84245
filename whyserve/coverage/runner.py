"""Covers models one after another, each in a process of its own: what ends one process ends one row, not the table."""

import datetime as dt
import importlib.metadata
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from whyserve.benchmark.machine import Machine, resident_mb
from whyserve.coverage.results import (
    FAILED,
    UNFINISHED,
    Result,
    finished_results,
    load_result,
    result_path,
    save_result,
)
from whyserve.process import interruptible

REGISTRY = "whyserve.coverage.subjects:APPLICATIONS"
PACKAGES = ("tensorflow", "keras", "numpy", "onnx", "tf2onnx", "onnxruntime", "onnxruntime-gpu")
_POLL_S = 0.2
_REASON_LINES = 3


@dataclass(frozen=True)
class Coverage:
    """Which models to cover, and what each may take.

    Args:
        models: Their names, in the order of the work.
        folder: Where results are kept, one file a model, with a log each.
        say: Where progress goes.
        registry: Where the processes find the models, `package.module:attribute`.
        max_memory_gb: A process that takes more, in 10^9 bytes, is ended; None for no limit.
        timeout_s: A process that takes longer is ended.
    """

    models: Sequence[str]
    folder: Path
    say: Callable[[str], None]
    registry: str = REGISTRY
    max_memory_gb: float | None = None
    timeout_s: float = 3600.0

    def run(self, *, again: bool = False, again_failed: bool = False) -> list[Result]:
        """Covers those models that have no result yet, and returns the results of all.

        Args:
            again: Also those that have one.
            again_failed: Also those that failed.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        done = {} if again else finished_results(self.folder, self.models)
        if again_failed:
            done = {name: result for name, result in done.items() if result.passed}
        if done:
            self.say(f"-- {len(done)} of {len(self.models)} models have a result in {self.folder} (--again to redo)")
        with interruptible():
            for position, name in enumerate(self.models, start=1):
                if name not in done:
                    self.say(f"-- {position}/{len(self.models)} {name}")
                    done[name] = self._cover(name)
                    self.say(f"   {_outcome(done[name])}")
        return [done[name] for name in self.models]

    def _cover(self, name: str) -> Result:
        result_path(self.folder, name).unlink(missing_ok=True)
        start = time.monotonic()
        log = self.folder / f"{name}.log"
        ended, peak_bytes, verdict = self._process(name, log)
        result = load_result(self.folder, name) or Result(name)
        if verdict or ended != 0 or result.status == UNFINISHED:
            result.status = FAILED
            result.reason = f"{verdict or _ending(ended, log)} while {result.stage}"
        result.seconds = time.monotonic() - start
        result.peak_memory_gb = peak_bytes / 1e9
        result.finished = dt.datetime.now(dt.UTC).isoformat(timespec="seconds")
        result.machine, result.packages = str(Machine.here()), _packages()
        save_result(self.folder, result)
        return result

    def _process(self, name: str, log: Path) -> tuple[int, int, str]:
        """Runs one process to its end: its status, its largest resident memory in bytes, why it was ended, if so."""
        command = [sys.executable, "-m", "whyserve.coverage.check", self.registry, name, str(self.folder)]
        with log.open("wb") as file:
            process = subprocess.Popen(command, stdout=file, stderr=subprocess.STDOUT)
        verdict = ""
        end = time.monotonic() + self.timeout_s
        try:
            while True:
                pid, status, usage = os.wait4(process.pid, os.WNOHANG)
                if pid:
                    break
                verdict = verdict or self._verdict(process.pid, end)
                if verdict:
                    os.kill(process.pid, signal.SIGKILL)
                time.sleep(_POLL_S)
        except BaseException:  # the interrupt too: no process is left behind
            process.kill()
            process.wait()
            raise
        process.returncode = os.waitstatus_to_exitcode(status)
        return process.returncode, usage.ru_maxrss * 1024, verdict

    def _verdict(self, pid: int, end: float) -> str:
        """Why a process has to be ended; empty while it may go on."""
        if time.monotonic() > end:
            return f"took longer than {self.timeout_s:.0f} s"
        if self.max_memory_gb is None:
            return ""
        try:
            resident = resident_mb(pid)[0] / 1e3
        except (OSError, KeyError):  # it has just ended
            return ""
        return f"took more than {self.max_memory_gb:g} GB of memory" if resident > self.max_memory_gb else ""


def _ending(status: int, log: Path) -> str:
    """How a process ended, with the last lines that it wrote."""
    if status < 0:
        name = signal.Signals(-status).name
        hint = " (out of memory?)" if name == "SIGKILL" else ""
        return f"the process was ended by {name}{hint}"
    lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
    return f"the process ended with status {status}: {' '.join(lines[-_REASON_LINES:])}"


def _outcome(result: Result) -> str:
    took = f"{result.seconds:.0f} s, {result.peak_memory_gb:.1f} GB"
    return f"passed, {took}" if result.passed else f"FAILED, {took}: {result.reason}"


def _packages() -> dict[str, str]:
    found = {}
    for name in PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found
