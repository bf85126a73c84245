"""Brings the versions of each model to what is asked for: loads, labels, unloads, tries again."""

import asyncio
import logging
import time
from collections.abc import Coroutine, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from serving.config.models import ModelConfig, Specific
from serving.errors import Code, ServingError
from serving.loader import TRANSIENT, Loader, LoadOptions
from serving.metrics import Metrics
from serving.model_state import LABELS, WHOLE_MODEL, Model, Version
from serving.repository import VersionFolder, find_versions
from serving.servable import Servable
from serving.types import State, VersionStatus

logger = logging.getLogger(__name__)

_TIMER_S = 0.002
"""Loops round their timers to milliseconds."""


class Lifecycle:
    """Takes versions from their folders to where they answer, and away again.

    A new version is loaded before the old one is let go, the newest first; labels move between the two. A version that
    fails to load is tried again when its files change, and after a while where the reason may pass by itself. All
    methods belong to the event loop's thread.

    Args:
        loader: Loads and unloads, off the event loop.
        metrics: Where loads are counted.
        options: How often a version is tried again.
        labels_for_unavailable: Whether a new label may name a version that isn't served.

    Attributes:
        newest: The newest version of every model that can answer, by name.
    """

    def __init__(self, loader: Loader, *, metrics: Metrics, options: LoadOptions, labels_for_unavailable: bool) -> None:
        self.newest: dict[str, Servable] = {}
        self._loader = loader
        self._metrics = metrics
        self._options = options
        self._labels_for_unavailable = labels_for_unavailable
        self._stopping = False
        self._tasks: set[asyncio.Task[None]] = set()
        self._unloading: set[asyncio.Task[None]] = set()

    async def stop(self, models: Iterable[Model]) -> None:
        """Unloads every version when its last request was answered; nothing is loaded any more."""
        self._stopping = True
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
        for model in models:
            for number in model.available():
                self.unload(model, number)
        while self._unloading:
            await asyncio.wait(self._unloading)

    async def look_at(self, model: Model, *, settled: bool) -> None:
        """Looks at the folder of a model and makes the served versions those that are asked for.

        Args:
            model: The model.
            settled: See `serving.manager.ModelManager.poll`.
        """
        async with model.lock:
            if self._stopping:
                return
            before, model.notes = model.notes, {}
            if model.removed:
                self._remove(model)
                return
            config = model.config
            try:
                folders = await self._loader.look(find_versions, config.base_path)
                await self._update(model, config, folders, settled=settled)
            except OSError as error:  # one model that can't be read must not keep the others from being looked at
                model.notes[WHOLE_MODEL] = f"{config.base_path} can't be read: {error}."
            for number, note in model.notes.items():
                if before.get(number) != note:
                    logger.warning("Model %s: %s", config.name, note)

    def _remove(self, model: Model) -> None:
        model.labels.clear()
        for number in model.available():
            self.unload(model, number)
        for version in model.versions.values():
            if version.retry_at is not None:
                _end(version)

    async def _update(
        self, model: Model, config: ModelConfig, folders: Mapping[int, Path] | None, *, settled: bool
    ) -> None:
        if folders is None:
            if not model.versions:
                model.notes[WHOLE_MODEL] = f"Base path {config.base_path} doesn't exist."
            return
        model.seen = {number: seen for number, seen in model.seen.items() if number in folders}
        _note_missing(model, config, folders)
        candidates = config.policy.candidates(folders)
        kept: list[int] = []
        for number in candidates:
            if len(kept) < config.policy.most and await self._provide(model, number, folders[number], settled=settled):
                kept.append(number)
        going = [
            number
            for number in model.available()
            if number not in kept and (kept or (not candidates and number not in folders))
        ]
        self._assign_labels(model, config, going)
        for number in going:
            self.unload(model, number)
        self._give_up_retries(model, candidates)
        model.forget_ended()

    def _assign_labels(self, model: Model, config: ModelConfig, going: Sequence[int]) -> None:
        """Puts the labels into effect whose versions answer; what a label named before it names until then."""
        answering = set(model.available()) - set(going)
        for label in model.labels.keys() - config.labels.keys():
            del model.labels[label]
        for label, number in config.labels.items():
            if number in answering or (self._labels_for_unavailable and label not in model.labels):
                model.labels[label] = number
            elif model.labels.get(label) != number:
                model.notes[LABELS] = refuse_label(config.name, number).message

    async def _provide(self, model: Model, number: int, path: Path, *, settled: bool) -> bool:
        """Makes a version available, if it isn't and can be; returns whether it is."""
        known = model.versions.get(number)
        if known is not None and known.unloading is not None:
            await known.unloading
        if known is not None and known.available:
            if known.path != path:
                model.notes[number] = f"Version {number} is served from {known.path} until it is unloaded."
            return True
        found = await self._loader.inspect(number, path)
        seen, model.seen[number] = model.seen.get(number), found.fingerprint
        unchanged = known is not None and known.fingerprint == found.fingerprint
        if known is not None and unchanged and known.status.error_code != Code.OK and not _is_due(known):
            return False  # it failed, and nothing changed since
        at_rest = settled or seen == found.fingerprint
        if found.incomplete:
            model.notes[number] = found.incomplete
            if at_rest:
                self._give_up(model, found)
            return False
        if not (at_rest or found.verifiable):
            return False
        again = known is not None and unchanged and known.retry_at is not None
        return await self._load(model, found, known.num_retries + 1 if known is not None and again else 0)

    def _give_up(self, model: Model, found: VersionFolder) -> None:
        """Ends a version that can't be loaded as its files are, and that nobody seems to be copying any more."""
        status = VersionStatus(found.version, State.END, Code.NOT_FOUND, found.incomplete)
        model.versions[found.version] = Version(status, found.fingerprint, found.path)
        self._metrics.observe_load(model.config.name, Code.NOT_FOUND)
        self._metrics.tensorflow.observe_load(str(found.path), seconds=None)

    async def _load(self, model: Model, found: VersionFolder, num_retries: int) -> bool:
        name, number = model.config.name, found.version
        version = Version(VersionStatus(number, State.LOADING), found.fingerprint, found.path, num_retries=num_retries)
        model.versions[number] = version
        logger.info("Loading model %s version %d from %s", name, number, found.path)
        started = time.perf_counter()
        try:
            version.servable = await self._loader.load(name, found)
        except ServingError as error:
            self._metrics.observe_load(name, error.code)
            self._note_failure(model, version, error)
            return False
        version.status = VersionStatus(number, State.AVAILABLE)
        self._metrics.observe_load(name, Code.OK)
        self._refresh(model)
        seconds = time.perf_counter() - started
        logger.info(
            "Model %s version %d is served (%s, %.2f s)", name, number, version.servable.model.provider, seconds
        )
        return True

    def _note_failure(self, model: Model, version: Version, error: ServingError) -> None:
        """Ends a version that failed, or has it tried again where the reason may pass."""
        number, options = version.status.version, self._options
        again = error.code in TRANSIENT and version.num_retries < options.max_num_load_retries
        state = State.LOADING if again else State.END
        version.status = VersionStatus(number, state, error.code, error.message)
        logger.error("Model %s version %d can't be served: %s", model.config.name, number, error.message)
        if not again:
            return
        loop = asyncio.get_running_loop()
        version.retry_at = loop.time() + options.load_retry_interval_s
        logger.info(
            "Model %s version %d is tried again in %g s, %d more times at most",
            model.config.name,
            number,
            options.load_retry_interval_s,
            options.max_num_load_retries - version.num_retries,
        )
        self.spawn(self._retry(model, options.load_retry_interval_s))

    async def _retry(self, model: Model, wait_s: float) -> None:
        await asyncio.sleep(wait_s)
        await self.look_at(model, settled=True)

    def _give_up_retries(self, model: Model, candidates: Sequence[int]) -> None:
        """A version that shall not be served any more isn't tried again."""
        for number, version in model.versions.items():
            if version.retry_at is not None and number not in candidates:
                _end(version)

    def unload(self, model: Model, number: int) -> None:
        """Takes a version away from new requests, and lets go of it when its last one was answered."""
        version = model.versions[number]
        version.status = VersionStatus(number, State.UNLOADING)
        self._refresh(model)
        version.unloading = asyncio.create_task(self._finish_unloading(model, version))
        self._unloading.add(version.unloading)
        version.unloading.add_done_callback(self._unloading.discard)

    async def _finish_unloading(self, model: Model, version: Version) -> None:
        servable, version.servable = version.servable, None
        if servable is not None:
            await servable.drain()
            await self._loader.unload(servable)
        version.status = VersionStatus(version.status.version, State.END)
        logger.info("Model %s version %d was unloaded", model.config.name, version.status.version)

    def _refresh(self, model: Model) -> None:
        """Brings the short way to the newest version up to date."""
        available = model.available()
        servable = model.versions[available[0]].servable if available else None
        if servable is None:
            self.newest.pop(model.config.name, None)
        else:
            self.newest[model.config.name] = servable

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        """Has something done beside everything else, until the server stops."""
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._finish_task)

    def _finish_task(self, task: "asyncio.Task[None]") -> None:
        self._tasks.discard(task)
        error = None if task.cancelled() else task.exception()
        if error is not None:
            logger.error("A model on disk couldn't be looked at", exc_info=error)


def _end(version: Version) -> None:
    """Gives a version up that failed; its error stays listed."""
    version.retry_at = None
    status = version.status
    version.status = VersionStatus(status.version, State.END, status.error_code, status.error_message)


def _is_due(version: Version) -> bool:
    """Whether a version that failed is to be tried again now."""
    return version.retry_at is not None and version.retry_at <= asyncio.get_running_loop().time() + _TIMER_S


def _note_missing(model: Model, config: ModelConfig, folders: Mapping[int, Path]) -> None:
    if isinstance(config.policy, Specific):
        for number in set(config.policy.versions) - folders.keys():
            model.notes[number] = f"Version {number} was asked for, and {config.base_path} doesn't hold it."


def refuse_label(name: str, number: int) -> ServingError:
    """A label can't name this version, in TensorFlow Serving's words."""
    return ServingError(
        Code.FAILED_PRECONDITION,
        f"Request to assign label to version {number} of model {name}, which is not currently available for inference",
    )
