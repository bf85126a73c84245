"""Versions into memory and out of it, in threads of their own."""

import asyncio
import functools
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ParamSpec, TypeVar

from serving.engines.base import Engine
from serving.engines.bundle import BATCHING_FILE
from serving.engines.cpu import count_cpus
from serving.errors import Code, ServingError
from serving.memory import return_free_memory
from serving.metrics import Metrics
from serving.priority import can_undo, make_way, short_turns, started_threads_keep_priority
from serving.repository import VersionFolder, inspect_version
from serving.servable import ExecutionOptions, Servable

P = ParamSpec("P")
T = TypeVar("T")

_LOOK_THREADS = 4
"""A file system that hangs holds up the models on it, not the others."""
TRANSIENT = frozenset(
    {Code.UNKNOWN, Code.DEADLINE_EXCEEDED, Code.RESOURCE_EXHAUSTED, Code.ABORTED, Code.INTERNAL, Code.UNAVAILABLE}
)
"""Failures that may pass by themselves: memory, a file system that is away. A damaged bundle isn't one of them."""


@dataclass(frozen=True)
class LoadOptions:
    """How versions are loaded.

    Attributes:
        num_load_threads: Versions loaded at once; 0: one, and as many as there are processors for the first models.
        num_unload_threads: Versions unloaded at once; 0: one.
        max_num_load_retries: How often a version is tried again that failed for a reason that may pass.
        load_retry_interval_s: Seconds between two tries.
        per_model_batching: Whether `batching_params.pbtxt` of each version says how it is batched.
    """

    num_load_threads: int = 0
    num_unload_threads: int = 0
    max_num_load_retries: int = 5
    load_retry_interval_s: float = 60.0
    per_model_batching: bool = False


class Loader:
    """Loads and unloads off the event loop.

    Args:
        engine: What loads the models.
        execution: How the servables run.
        metrics: Where batches are counted.
        options: How many at once.
    """

    def __init__(self, engine: Engine, *, execution: ExecutionOptions, metrics: Metrics, options: LoadOptions) -> None:
        self._engine = engine
        self._execution = execution
        self._metrics = metrics
        self._options = options
        self._look_threads = ThreadPoolExecutor(_LOOK_THREADS, thread_name_prefix="look")
        self._unload_threads = ThreadPoolExecutor(options.num_unload_threads or 1, thread_name_prefix="unload")
        self._load_threads = ThreadPoolExecutor(options.num_load_threads or count_cpus(), thread_name_prefix="load")

    def finish_start(self) -> None:
        """The first models are loaded: from now on loading makes way for requests.

        Where threads of the engine would have to make way too, it goes on as before.
        """
        self._load_threads.shutdown(wait=False)
        makes_way = can_undo() or not self._engine.starts_threads
        self._load_threads = ThreadPoolExecutor(
            self._options.num_load_threads or 1,
            thread_name_prefix="load",
            initializer=make_way if makes_way else None,
        )

    def stop(self) -> None:
        """Takes no more work."""
        for threads in (self._look_threads, self._load_threads, self._unload_threads):
            threads.shutdown(wait=False, cancel_futures=True)

    async def look(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Runs a function that reads the file system."""
        return await _run(self._look_threads, function, *args, **kwargs)

    async def inspect(self, version: int, path: Path) -> VersionFolder:
        """Looks at the files of a version."""
        return await self.look(inspect_version, version, path, self._engine)

    async def load(self, name: str, found: VersionFolder) -> Servable:
        """Loads a version and runs it once.

        Raises:
            ServingError: It can't be served, with the reason.
        """
        return await _run(self._load_threads, self._load, name, found)

    async def unload(self, servable: Servable) -> None:
        """Lets go of a version that no request needs any more, and gives its memory back."""
        await _run(self._unload_threads, _close, servable)

    def _load(self, name: str, found: VersionFolder) -> Servable:
        started, seconds = time.perf_counter(), None
        try:
            with short_turns():
                servable = self._make_servable(name, found)
            seconds = time.perf_counter() - started
        finally:
            self._metrics.tensorflow.observe_load(str(found.path), seconds=seconds)
        return servable

    def _make_servable(self, name: str, found: VersionFolder) -> Servable:
        try:
            execution = self._execution_of(found.path)
            with started_threads_keep_priority():
                model = self._engine.load(found.path)
        except (OSError, MemoryError) as error:
            code = Code.RESOURCE_EXHAUSTED if isinstance(error, MemoryError) else Code.INTERNAL
            raise ServingError(code, f"{found.path} can't be loaded: {type(error).__name__}: {error}") from error
        servable = Servable(name, found.version, model, execution, self._metrics)
        try:
            servable.warm_up(found.path)
        except ServingError:
            servable.close()
            raise
        self._metrics.add_version(name, found.version, provider=model.provider, signatures=model.signatures)
        return servable

    def _execution_of(self, path: Path) -> ExecutionOptions:
        if not self._options.per_model_batching:
            return self._execution
        from serving.config.batching import read_batching_parameters

        file = path / BATCHING_FILE
        if not file.is_file():
            return replace(self._execution, batching=False)
        return replace(self._execution, batching=True, predict=read_batching_parameters(file).limits())


def _close(servable: Servable) -> None:
    with short_turns():
        servable.close()
        return_free_memory()


async def _run(threads: ThreadPoolExecutor, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    work = functools.partial(function, *args, **kwargs)
    return await asyncio.get_running_loop().run_in_executor(threads, work)
