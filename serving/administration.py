"""Changing what is served while it is served: the whole set, or one model."""

import asyncio
import logging
from collections.abc import Collection, Coroutine, Mapping
from typing import TYPE_CHECKING, Any

from serving.config.models import TENSORFLOW_PLATFORM, All, Latest, ModelConfig, VersionPolicy
from serving.errors import not_found, unavailable
from serving.manager import ModelManager

if TYPE_CHECKING:
    from serving.config.reload import ConfigFile
    from serving.protos.model_server_config_pb2 import ModelServerConfig

logger = logging.getLogger(__name__)

_STOPPING = "The server is stopping: its models can't be changed any more."


class Administration:
    """What transports call to change the set of models. All methods belong to the event loop's thread.

    What is changed here lives in memory only: a server that starts again serves what its flags and files say.

    Args:
        manager: What serves the models.
        platforms: The values of `model_platform` that the server can run.
        config_file: The configuration file, where the server was started with one.
        enabled: Whether single models may be added and removed: `--enable_admin_api`.

    Attributes:
        enabled: See above.
    """

    def __init__(
        self,
        manager: ModelManager,
        *,
        platforms: Collection[str] = (TENSORFLOW_PLATFORM,),
        config_file: "ConfigFile | None" = None,
        enabled: bool = False,
    ) -> None:
        self._manager = manager
        self._platforms = platforms
        self._config_file = config_file
        self.enabled = enabled
        self._changes: set[asyncio.Task[None]] = set()
        self._stopping = False

    async def replace(self, config: "ModelServerConfig") -> None:
        """Serves the models of a `ModelServerConfig` in place of all others; returns when the new ones are available.

        Raises:
            ServingError: TensorFlow Serving's codes and texts.
        """
        from serving.config.model_list import read_model_list

        await self._finish(self._manager.reload(read_model_list(config, platforms=self._platforms)))

    async def add(self, name: str, document: Any) -> None:
        """Adds a model, or changes the one of this name; returns when it is available.

        Args:
            name: The model's name.
            document: A `ModelConfig` in JSON: at least `base_path`.

        Raises:
            ServingError: It can't be served as it was asked for; then all is as it was before.
        """
        self.check_enabled()
        from serving.config.model_list import read_model_document

        await self._finish(self._manager.add(read_model_document(name, document, platforms=self._platforms)))

    async def remove(self, name: str) -> None:
        """Stops serving a model; requests in flight are answered.

        Raises:
            ServingError: NOT_FOUND where it isn't served.
        """
        self.check_enabled()
        await self._finish(self._manager.remove(name))

    async def reload(self) -> None:
        """Puts the configuration file into effect as it is now, and looks at the version folders at once.

        Raises:
            ServingError: What is wrong with the file, or with a model of it.
        """
        self.check_enabled()
        if self._config_file is not None:
            await self._finish(self._config_file.apply())
        else:
            await self._finish(self._manager.poll(settled=True))

    def describe(self, name: str) -> dict[str, Any]:
        """What is asked for of a model, in the form that `add` takes, with the labels in effect.

        Raises:
            ServingError: NOT_FOUND where it isn't served.
        """
        self.check_enabled()
        config = self._manager.config(name)
        if config is None:
            raise not_found(f"Model {name} must be one that is served. Received: a name that isn't.")
        return {**_document(config), "version_labels": _texts(self._manager.labels(name))}

    def stop(self) -> None:
        """Gives up the changes that are being made, which may wait for models of minutes, and takes none any more."""
        self._stopping = True
        for task in self._changes:
            task.cancel()

    async def _finish(self, change: Coroutine[Any, Any, None]) -> None:
        """Sees a change through to its end, even when nobody waits for it any more; but not when the server stops.

        Raises:
            ServingError: UNAVAILABLE where the server stops.
        """
        task = asyncio.create_task(change)
        self._changes.add(task)
        task.add_done_callback(self._end_change)
        if self._stopping:
            task.cancel()
        try:
            await asyncio.shield(task)
        except asyncio.CancelledError:
            if task.cancelled() and self._stopping:
                raise unavailable(_STOPPING) from None
            raise

    def _end_change(self, task: "asyncio.Task[None]") -> None:
        self._changes.discard(task)
        error = None if task.cancelled() else task.exception()
        if error is not None:
            logger.error("The models could not be changed: %s", error)

    def check_enabled(self) -> None:
        """Refuses everything where the server was started without `--enable_admin_api`.

        Raises:
            ServingError: NOT_FOUND.
        """
        if not self.enabled:
            raise not_found("Models can't be changed over REST here. Start the server with --enable_admin_api.")


def _texts(labels: Mapping[str, int]) -> dict[str, str]:
    """64-bit numbers are strings in JSON, as everywhere in TensorFlow Serving's."""
    return {label: str(version) for label, version in labels.items()}


def _document(config: ModelConfig) -> dict[str, Any]:
    return {
        "name": config.name,
        "base_path": str(config.base_path),
        "model_platform": config.platform,
        "model_version_policy": _policy_document(config.policy),
    }


def _policy_document(policy: VersionPolicy) -> dict[str, Any]:
    if isinstance(policy, Latest):
        return {"latest": {"num_versions": policy.num_versions}}
    if isinstance(policy, All):
        return {"all": {}}
    return {"specific": {"versions": [str(version) for version in policy.versions]}}
