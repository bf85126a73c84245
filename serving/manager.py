"""Which versions are served: finds them on disk, loads the new before letting go of the old, reports what failed."""

import asyncio
import contextlib
import gc
import logging
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from serving.config.checks import check_names, check_platforms
from serving.config.models import Latest, ModelConfig
from serving.engines.base import Engine
from serving.errors import Code, ServingError, invalid_argument, not_found, unavailable
from serving.lifecycle import Lifecycle, refuse_label
from serving.loader import Loader, LoadOptions
from serving.metrics import Metrics
from serving.model_state import Model
from serving.repository import find_versions, list_models
from serving.servable import ExecutionOptions, Servable
from serving.types import ModelSpec, ModelStatus, State

logger = logging.getLogger(__name__)

_RETRY_CHECK_S = 0.05
_MOST_REMOVED = 100
"""Models that were removed and are still listed with their versions."""


class ModelManager:
    """Serves the newest versions of a set of models, and keeps to it as folders come and go.

    A new version is loaded, off the event loop, before the old one is let go; the old one is let go when its last
    request was answered. A version that fails to load is reported and tried again when its files change, and after a
    while where the reason may pass by itself; until then the newest one that can be loaded is served. A version folder
    whose files aren't all there yet is left alone. Models don't wait for one another. All methods belong to the event
    loop's thread.

    Args:
        engine: What loads the models.
        execution: How the servables run.
        metrics: Where loads and batches are counted.
        models: The models to serve.
        repository: A folder below which every folder with version folders is served too, under its own name.
        num_versions: How many of the newest versions of the repository's models are served at once.
        loading: How versions are loaded.
        labels_for_unavailable: Whether a new label may name a version that isn't served.
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
        loading: LoadOptions | None = None,
        labels_for_unavailable: bool = False,
    ) -> None:
        options = loading or LoadOptions()
        self._loader = Loader(engine, execution=execution, metrics=metrics, options=options)
        self._lifecycle = Lifecycle(
            self._loader, metrics=metrics, options=options, labels_for_unavailable=labels_for_unavailable
        )
        self._configured = {config.name: config for config in models}
        self._repository = repository
        self._hidden: set[str] = set()
        self._num_versions = num_versions
        self._labels_for_unavailable = labels_for_unavailable
        self._models: dict[str, Model] = {}
        self._poll_wait_s = 0.0
        self._polling: asyncio.Task[None] | None = None
        self._changing = asyncio.Lock()
        self._stopping = False

    def find(self, spec: ModelSpec) -> Servable:
        """The servable that answers requests for `spec`.

        Raises:
            ServingError: It isn't served; TensorFlow Serving's codes and texts.
        """
        if spec.label is None and (spec.version is None or self._means_newest(spec.name, spec.version)):
            servable = self._lifecycle.newest.get(spec.name)
            if servable is not None:
                return servable
        if not spec.name:
            raise invalid_argument("ModelSpec has no name specified.")
        number = spec.version if spec.label is None else self._labelled(spec.name, spec.label)
        if number is None:
            raise not_found(f"Servable not found for request: Latest({spec.name})")
        model = self._models.get(spec.name)
        version = None if model is None else model.versions.get(number)
        if version is None or version.servable is None or not version.available:
            raise not_found(f"Servable not found for request: Specific({spec.name}, {number})")
        return version.servable

    def _means_newest(self, name: str, version: int) -> bool:
        """Whether a version is how OpenVINO's clients ask for none: 0, where there is no version 0."""
        if version != 0:
            return False
        model = self._models.get(name)
        return model is None or 0 not in model.versions

    def _labelled(self, name: str, label: str) -> int:
        model = self._models.get(name)
        number = None if model is None else model.labels.get(label)
        if number is None:
            raise invalid_argument(f"Unrecognized servable version label: {label}")
        return number

    def status(self, name: str, version: int | None = None) -> ModelStatus:
        """What is known of a model's versions, or of one of them, newest first.

        Raises:
            ServingError: NOT_FOUND with TensorFlow Serving's texts.
        """
        model = self._models.get(name)
        if model is None or not model.versions:
            raise not_found(f"Could not find any versions of model {name}")
        if version is not None and self._means_newest(name, version):
            version = None
        numbers = sorted(model.versions, reverse=True) if version is None else [version]
        if version is not None and version not in model.versions:
            raise not_found(f"Could not find version {version} of model {name}")
        return ModelStatus(name, tuple(model.versions[number].status for number in numbers))

    def statuses(self) -> list[ModelStatus]:
        """Every model with at least one version, by name."""
        return [self.status(name) for name, model in sorted(self._models.items()) if model.versions]

    def served(self) -> dict[str, Servable]:
        """The newest version of every model that can answer, by name."""
        return dict(self._lifecycle.newest)

    def answering(self) -> dict[str, list[Servable]]:
        """Every version that answers requests, newest first, by model."""
        return {
            name: [
                version.servable
                for number in model.available()
                if (version := model.versions[number]).servable is not None
            ]
            for name, model in sorted(self._models.items())
        }

    def unserved(self) -> dict[str, str]:
        """The models of which no version can answer though one should, with the reasons."""
        return {
            name: model.explain_unserved()
            for name, model in self._models.items()
            if not model.removed and not model.available()
        }

    def check_available(self) -> None:
        """Refuses models of which no version can answer though one should.

        Raises:
            ServingError: UNKNOWN, in TensorFlow Serving's words.
        """
        _check_available([model for model in self._models.values() if not model.removed], Code.UNKNOWN)

    def config(self, name: str) -> ModelConfig | None:
        """What is asked for of a model, or None where it isn't served."""
        model = self._models.get(name)
        return None if model is None or model.removed else model.config

    def configs(self) -> dict[str, ModelConfig]:
        """What is asked for of every model, by name."""
        return {name: model.config for name, model in self._models.items() if not model.removed}

    def labels(self, name: str) -> Mapping[str, int]:
        """The labels of a model that are in effect, with their versions."""
        model = self._models.get(name)
        return {} if model is None else dict(model.labels)

    async def start(self, *, poll_wait_s: float) -> None:
        """Loads what is there, then looks again every `poll_wait_s` seconds; 0 or less: never again.

        Raises:
            ServingError: FAILED_PRECONDITION where a label names a version that couldn't be loaded.
        """
        self._poll_wait_s = poll_wait_s
        await self.poll(settled=True)
        await self._await_retries(self._configured)
        while not self._lifecycle.newest and any(model.retrying() for model in self._models.values()):
            await asyncio.sleep(_RETRY_CHECK_S)
        for name in self._configured:
            self._check_labels_in_effect(self._models[name])
        self._loader.finish_start()
        # What lives now lives as long as the process: the collector need never look at it again.
        gc.collect()
        gc.freeze()
        if poll_wait_s > 0:
            self._polling = asyncio.create_task(self._poll_for_ever(poll_wait_s))

    async def stop(self) -> None:
        """Unloads everything, each version when its last request was answered; nothing is loaded any more."""
        self._stopping = True
        if self._polling is not None:
            self._polling.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._polling
        await self._lifecycle.stop(self._models.values())
        self._loader.stop()

    async def poll(self, *, settled: bool = False) -> None:
        """Looks at the folders once and makes the served versions those on disk.

        Args:
            settled: Loads folders without a manifest at once; otherwise only when their files didn't change since the
                last look, because nothing else tells whether they are still being copied.
        """
        await self._look_at_all(await self._find_models(), settled=settled)

    async def reload(self, models: Sequence[ModelConfig]) -> None:
        """Serves these models in place of all others, and returns when the new ones are available.

        Raises:
            ServingError: INVALID_ARGUMENT or FAILED_PRECONDITION with TensorFlow Serving's texts, and nothing changed;
                UNKNOWN where the set is the new one now, but a model of it can't be loaded.
        """
        async with self._changing:
            served = self.configs()
            await self._check_changes(models)
            self._configured = {config.name: config for config in models}
            if self._repository is not None:
                logger.warning("%s is not looked at any more: the set of models was replaced", self._repository)
                self._repository = None
            await self._apply({config.name for config in models if served.get(config.name) != config})
        new = [self._models[config.name] for config in models if config.name not in served]
        await self._await_retries(model.config.name for model in new)
        _check_available(new, Code.UNKNOWN)
        for config in models:
            self._check_labels_in_effect(self._models[config.name])

    async def add(self, config: ModelConfig) -> None:
        """Adds a model, or changes the one of this name, beside all others; returns when it is available.

        Raises:
            ServingError: It can't be served as it was asked for; then all is as it was before.
        """
        async with self._changing:
            await self._check_changes([config])
            name = config.name
            configured, hidden = dict(self._configured), set(self._hidden)
            self._configured[name] = config
            self._hidden.discard(name)
            try:
                await self._apply({name})
                await self._await_retries([name])
                _check_available([self._models[name]], Code.FAILED_PRECONDITION, below=config.base_path)
                self._check_labels_in_effect(self._models[name])
            except ServingError:
                self._configured, self._hidden = configured, hidden
                await self._apply({name})
                raise

    async def remove(self, name: str) -> None:
        """Stops serving a model; requests in flight are answered.

        Raises:
            ServingError: NOT_FOUND where it isn't served.
        """
        async with self._changing:
            if self.config(name) is None:
                raise not_found(f"Model {name} must be one that is served. Received: a name that isn't.")
            self._configured.pop(name, None)
            if self._repository is not None:
                self._hidden.add(name)
            await self._apply({name})

    async def _apply(self, changed: Iterable[str]) -> None:
        """Looks at every model after the set has changed; files of what changed are taken as they are."""
        changed = set(changed)
        models = await self._find_models()
        fresh = [model for model in models if model.config.name in changed or self._poll_wait_s <= 0]
        others = [model for model in models if model not in fresh]
        await asyncio.gather(self._look_at_all(fresh, settled=True), self._look_at_all(others, settled=False))

    async def _look_at_all(self, models: Sequence[Model], *, settled: bool) -> None:
        await asyncio.gather(*[self._lifecycle.look_at(model, settled=settled) for model in models])

    async def _poll_for_ever(self, poll_wait_s: float) -> None:
        while True:
            await asyncio.sleep(poll_wait_s)
            try:
                models = await self._find_models()
            except Exception:  # a boundary of the process: whatever one look meets, the server goes on and looks again
                logger.exception("The models on disk couldn't be looked at")
                continue
            for model in models:
                if not model.lock.locked():  # one that takes long to load doesn't keep the others waiting
                    self._lifecycle.spawn(self._lifecycle.look_at(model, settled=False))

    async def _find_models(self) -> list[Model]:
        """Every model that is or was served, with what is asked for of it now."""
        if self._stopping:
            raise unavailable("The server is stopping: its models can't be changed any more.")
        found = None
        if self._repository is not None:
            found = await self._loader.look(list_models, self._repository)
        configs = {
            name: ModelConfig(name, path, Latest(self._num_versions))
            for name, path in (found or {}).items()
            if name not in self._hidden
        } | self._configured
        for name, config in configs.items():
            self._models.setdefault(name, Model(config)).config = config
        # A repository that is away for a while takes no model with it.
        away = self._repository is not None and found is None
        for name, model in self._models.items():
            model.removed = name not in configs and (not away or name in self._hidden)
        self._forget_removed()
        return list(self._models.values())

    def _forget_removed(self) -> None:
        gone = [
            name
            for name, model in self._models.items()
            if model.removed and all(version.status.state == State.END for version in model.versions.values())
        ]
        for name in gone[:-_MOST_REMOVED]:
            del self._models[name]

    async def _await_retries(self, names: Iterable[str]) -> None:
        """Waits until each of these models is available, or nothing will be tried again by itself."""
        for name in list(names):
            while (
                not self._stopping and (model := self._models.get(name)) and not model.available() and model.retrying()
            ):
                await asyncio.sleep(_RETRY_CHECK_S)

    async def _check_changes(self, models: Sequence[ModelConfig]) -> None:
        """Refuses what can't be, before anything is changed."""
        served = self.configs()
        check_names(config.name for config in models)
        check_platforms(models, served)
        for config in models:
            await self._check_labels(config, self._models.get(config.name))

    async def _check_labels(self, config: ModelConfig, model: Model | None) -> None:
        """Refuses labels of versions that neither answer now nor will when the change is made."""
        in_effect = {} if model is None or model.removed else model.labels
        answering = set() if model is None else set(model.available())
        for label, number in config.labels.items():
            if number in answering or (self._labels_for_unavailable and label not in in_effect):
                continue
            folders = await self._loader.look(find_versions, config.base_path) or {}
            most = config.policy.most
            candidates = config.policy.candidates(folders)
            if number not in (candidates if most > len(candidates) else candidates[: int(most)]):
                raise refuse_label(config.name, number)

    def _check_labels_in_effect(self, model: Model) -> None:
        for label, number in model.config.labels.items():
            if model.labels.get(label) != number:
                raise refuse_label(model.config.name, number)


def _check_available(models: Sequence[Model], code: Code, *, below: Path | None = None) -> None:
    """Refuses models of which no version (from `below`) answers, in TensorFlow Serving's words."""
    failed = [
        model
        for model in models
        if not any(below in (None, model.versions[number].path.parent) for number in model.available())
    ]
    if not failed:
        return
    reasons = []
    for model in failed:
        number, message = model.last_failure()
        version = "" if number is None else f" version: {number}"
        reasons.append(f"{{name: {model.config.name}{version}}} due to error: {message}, ")
    raise ServingError(code, f"{len(failed)} model(s) did not become available: {{{''.join(reasons)}}}")
