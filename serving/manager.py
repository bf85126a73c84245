"""Which versions are served: finds them on disk, loads the new before letting go of the old, reports what failed."""

import asyncio
import contextlib
import functools
import gc
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import ParamSpec, TypeVar

from serving.engines.base import Engine
from serving.errors import Code, ServingError, invalid_argument, not_found
from serving.metrics import Metrics
from serving.repository import Fingerprint, VersionFolder, find_versions, inspect_version, list_models
from serving.servable import ExecutionOptions, Servable
from serving.types import ModelSpec, ModelStatus, State, VersionStatus

logger = logging.getLogger(__name__)

P = ParamSpec("P")
T = TypeVar("T")

_MOST_ENDED = 100
"""Ended versions that a model's status still lists."""
_WHOLE_MODEL = -1
"""Stands in notes for the model as a whole; a version is never negative."""


@dataclass(frozen=True)
class ModelConfig:
    """A model to serve.

    Attributes:
        name: What clients call it.
        base_path: The folder of its version folders.
        num_versions: How many of the newest versions are served at once.
    """

    name: str
    base_path: Path
    num_versions: int = 1


@dataclass
class _Version:
    """What is known of one version that was ever tried. `servable` is set while it is available."""

    status: VersionStatus
    fingerprint: Fingerprint
    servable: Servable | None = None

    @property
    def available(self) -> bool:
        return self.status.state == State.AVAILABLE


@dataclass
class _Model:
    config: ModelConfig
    versions: dict[int, _Version] = field(default_factory=dict)
    seen: dict[int, Fingerprint] = field(default_factory=dict)
    notes: dict[int, str] = field(default_factory=dict)

    def available(self) -> list[int]:
        """The versions that answer requests, newest first."""
        return sorted((number for number, version in self.versions.items() if version.available), reverse=True)


class ModelManager:
    """Serves the newest versions of a set of models, and keeps to it as folders come and go.

    A new version is loaded, off the event loop, before the old one is let go; the old one is let go when its last
    request was answered. A version that fails to load is reported and tried again when its files change; until then
    the newest one that can be loaded is served. A version folder whose files aren't all there yet is left alone. All
    methods belong to the event loop's thread.

    Args:
        engine: What loads the models.
        execution: How the servables run.
        metrics: Where loads and batches are counted.
        models: The models to serve.
        repository: A folder below which every folder with version folders is served too, under its own name.
        num_versions: How many of the newest versions of the repository's models are served at once.
    """

    def __init__(
        self,
        engine: Engine,
        *,
        execution: ExecutionOptions,
        metrics: Metrics,
        models: Sequence[ModelConfig] = (),
        repository: Path | None = None,
        num_versions: int = 1,
    ) -> None:
        self._engine = engine
        self._execution = execution
        self._metrics = metrics
        self._configured = {config.name: config for config in models}
        self._repository = repository
        self._num_versions = num_versions
        self._models: dict[str, _Model] = {}
        self._newest: dict[str, Servable] = {}
        self._threads: Executor = ThreadPoolExecutor(max_workers=1, thread_name_prefix="load")
        self._polling: asyncio.Task[None] | None = None
        self._unloading: set[asyncio.Task[None]] = set()

    def find(self, spec: ModelSpec) -> Servable:
        """The servable that answers requests for `spec`.

        Raises:
            ServingError: It isn't served; TensorFlow Serving's codes and texts.
        """
        if spec.version is None and spec.label is None:
            servable = self._newest.get(spec.name)
            if servable is not None:
                return servable
        if not spec.name:
            raise invalid_argument("ModelSpec has no name specified.")
        if spec.label is not None:
            raise invalid_argument(f"Unrecognized servable version label: {spec.label}")
        if spec.version is None:
            raise not_found(f"Servable not found for request: Latest({spec.name})")
        model = self._models.get(spec.name)
        version = None if model is None else model.versions.get(spec.version)
        if version is None or version.servable is None or not version.available:
            raise not_found(f"Servable not found for request: Specific({spec.name}, {spec.version})")
        return version.servable

    def status(self, name: str, version: int | None = None) -> ModelStatus:
        """What is known of a model's versions, or of one of them, newest first.

        Raises:
            ServingError: NOT_FOUND with TensorFlow Serving's texts.
        """
        model = self._models.get(name)
        if model is None or not model.versions:
            raise not_found(f"Could not find any versions of model {name}")
        numbers = sorted(model.versions, reverse=True) if version is None else [version]
        if version is not None and version not in model.versions:
            raise not_found(f"Could not find version {version} of model {name}")
        return ModelStatus(name, tuple(model.versions[number].status for number in numbers))

    def statuses(self) -> list[ModelStatus]:
        """Every model with at least one version, by name."""
        return [self.status(name) for name, model in sorted(self._models.items()) if model.versions]

    def served(self) -> dict[str, Servable]:
        """The newest version of every model that can answer, by name."""
        return dict(self._newest)

    def unserved(self) -> dict[str, str]:
        """The models of which no version can answer, with the reasons."""
        return {name: _explain_unserved(model) for name, model in self._models.items() if not model.available()}

    async def start(self, *, poll_wait_s: float) -> None:
        """Loads what is there, then looks again every `poll_wait_s` seconds; 0 or less: never again."""
        await self.poll(settled=True)
        gc.collect()
        gc.freeze()
        if poll_wait_s > 0:
            self._polling = asyncio.create_task(self._poll_for_ever(poll_wait_s))

    async def stop(self) -> None:
        """Unloads everything, each version when its last request was answered."""
        if self._polling is not None:
            self._polling.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._polling
        for model in self._models.values():
            for number in model.available():
                self._unload(model, number)
        while self._unloading:
            await asyncio.wait(self._unloading)
        self._threads.shutdown(wait=False)

    async def poll(self, *, settled: bool = False) -> None:
        """Looks at the folders once and makes the served versions those on disk.

        Args:
            settled: Loads folders without a manifest at once; otherwise only when their files didn't change since the
                last look, because nothing else tells whether they are still being copied.
        """
        for name, config in (await self._in_thread(self._list_models)).items():
            model = self._models.setdefault(name, _Model(config))
            before, model.notes = model.notes, {}
            try:
                await self._update(model, await self._in_thread(find_versions, config.base_path), settled=settled)
            except OSError as error:  # one model that can't be read must not keep the others from being looked at
                model.notes[_WHOLE_MODEL] = f"{config.base_path} can't be read: {error}."
            for number, note in model.notes.items():
                if before.get(number) != note:
                    logger.warning("Model %s: %s", name, note)

    async def _poll_for_ever(self, poll_wait_s: float) -> None:
        while True:
            await asyncio.sleep(poll_wait_s)
            try:
                await self.poll()
            except Exception:  # a boundary of the process: whatever one look meets, the server goes on and looks again
                logger.exception("The models on disk couldn't be looked at")

    def _list_models(self) -> dict[str, ModelConfig]:
        """The configured models and those of the repository, also those that were there once."""
        configs = {name: model.config for name, model in self._models.items()} | self._configured
        found = {} if self._repository is None else list_models(self._repository) or {}
        return {name: ModelConfig(name, path, self._num_versions) for name, path in found.items()} | configs

    async def _update(self, model: _Model, folders: Mapping[int, Path] | None, *, settled: bool) -> None:
        if folders is None and not self._was_removed(model):
            if not model.versions:
                model.notes[_WHOLE_MODEL] = f"Base path {model.config.base_path} doesn't exist."
            return
        kept: list[int] = []
        for number, path in sorted((folders or {}).items(), reverse=True):
            if len(kept) < model.config.num_versions and await self._provide(model, number, path, settled=settled):
                kept.append(number)
        if kept or not folders:
            for number in model.available():
                if number not in kept:
                    self._unload(model, number)
        _forget_ended(model)

    def _was_removed(self, model: _Model) -> bool:
        """Whether a missing base path means that the model was removed, not that a file system is away for a while."""
        configured = model.config.name in self._configured
        return not configured and self._repository is not None and self._repository.is_dir()

    async def _provide(self, model: _Model, number: int, path: Path, *, settled: bool) -> bool:
        """Makes a version available, if it isn't and can be; returns whether it is."""
        known = model.versions.get(number)
        if known is not None and known.status.state != State.END:
            return known.available
        found = await self._in_thread(inspect_version, number, path, self._engine)
        seen, model.seen[number] = model.seen.get(number), found.fingerprint
        if known is not None and known.status.error_code != Code.OK and known.fingerprint == found.fingerprint:
            return False  # it failed, and nothing changed since
        if found.incomplete:
            model.notes[number] = found.incomplete
            return False
        if not (settled or found.verifiable or seen == found.fingerprint):
            return False
        return await self._load(model, found)

    async def _load(self, model: _Model, found: VersionFolder) -> bool:
        name, number = model.config.name, found.version
        version = model.versions[number] = _Version(VersionStatus(number, State.LOADING), found.fingerprint)
        logger.info("Loading model %s version %d from %s", name, number, found.path)
        started = time.perf_counter()
        try:
            version.servable = await self._in_thread(self._make_servable, name, found)
        except ServingError as error:
            version.status = VersionStatus(number, State.END, error.code, error.message)
            self._metrics.observe_load(name, error.code)
            logger.error("Model %s version %d can't be served: %s", name, number, error.message)  # noqa: TRY400
            return False
        version.status = VersionStatus(number, State.AVAILABLE)
        self._metrics.observe_load(name, Code.OK)
        self._refresh(model)
        gc.freeze()
        seconds = time.perf_counter() - started
        logger.info(
            "Model %s version %d is served (%s, %.2f s)", name, number, version.servable.model.provider, seconds
        )
        return True

    def _make_servable(self, name: str, found: VersionFolder) -> Servable:
        try:
            model = self._engine.load(found.path)
        except (OSError, MemoryError) as error:
            raise ServingError(
                Code.INTERNAL, f"{found.path} can't be loaded: {type(error).__name__}: {error}"
            ) from error
        servable = Servable(name, found.version, model, self._execution, self._metrics)
        servable.warm_up()
        self._metrics.add_version(name, found.version, provider=model.provider, signatures=model.signatures)
        return servable

    def _unload(self, model: _Model, number: int) -> None:
        version = model.versions[number]
        version.status = VersionStatus(number, State.UNLOADING)
        self._refresh(model)
        task = asyncio.create_task(self._finish_unloading(model, version))
        self._unloading.add(task)
        task.add_done_callback(self._unloading.discard)

    async def _finish_unloading(self, model: _Model, version: _Version) -> None:
        servable, version.servable = version.servable, None
        if servable is not None:
            await servable.drain()
            await self._in_thread(servable.close)
        version.status = VersionStatus(version.status.version, State.END)
        logger.info("Model %s version %d was unloaded", model.config.name, version.status.version)

    def _refresh(self, model: _Model) -> None:
        """Brings the short way to the newest version up to date."""
        available = model.available()
        servable = model.versions[available[0]].servable if available else None
        if servable is None:
            self._newest.pop(model.config.name, None)
        else:
            self._newest[model.config.name] = servable

    async def _in_thread(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        work = functools.partial(function, *args, **kwargs)
        return await asyncio.get_running_loop().run_in_executor(self._threads, work)


def _forget_ended(model: _Model) -> None:
    ended = sorted(number for number, version in model.versions.items() if version.status.state == State.END)
    for number in ended[:-_MOST_ENDED]:
        del model.versions[number]


def _explain_unserved(model: _Model) -> str:
    failed: Mapping[int, str] = {
        number: version.status.error_message
        for number, version in model.versions.items()
        if version.status.error_message
    }
    reasons = dict(sorted({**model.notes, **failed}.items(), reverse=True))
    return " ".join(reasons.values()) or f"{model.config.base_path} holds no version folder (a whole number, as 1)."
