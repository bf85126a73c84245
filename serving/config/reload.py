"""The configuration file, read again as it changes."""

import asyncio
import hashlib
import logging
from collections.abc import Collection
from pathlib import Path

from serving.config.model_list import read_model_config_file
from serving.errors import Code, ServingError
from serving.manager import ModelManager

logger = logging.getLogger(__name__)


class ConfigFile:
    """A `--model_config_file` whose models are served, and those of its later contents.

    A file that can't be used changes nothing: it is reported once, and looked at again. What was added or removed by
    other ways stays until the file changes.

    Args:
        path: The file.
        manager: What serves its models.
        platforms: The values of `model_platform` that the server can run.
    """

    def __init__(self, path: Path, manager: ModelManager, *, platforms: Collection[str]) -> None:
        self.path = path
        self._manager = manager
        self._platforms = platforms
        self._applied = _digest(path)
        self._reported = ""

    async def watch(self, poll_wait_s: float) -> None:
        """Looks at the file for ever, every `poll_wait_s` seconds."""
        while True:
            await asyncio.sleep(poll_wait_s)
            try:
                if await asyncio.to_thread(_digest, self.path) != self._applied:
                    await self.apply()
                self._reported = ""
            except ServingError as error:
                if error.message != self._reported:
                    logger.error("%s: %s", self._describe(error), error.message)  # noqa: TRY400 -- the text says it all
                self._reported = error.message
            except Exception:  # a boundary of the process: whatever the file brings about, the server goes on
                logger.exception("The models of %s couldn't be put into effect", self.path)

    def _describe(self, error: ServingError) -> str:
        if error.code == Code.UNKNOWN:
            return f"Not every model of {self.path} can be served"
        return f"The models stay as they are: {self.path} can't be put into effect"

    async def apply(self) -> None:
        """Reads the file and serves its models in place of all others.

        Raises:
            ServingError: What is wrong with it, or with a model of it.
        """
        digest = await asyncio.to_thread(_digest, self.path)
        models = await asyncio.to_thread(read_model_config_file, self.path, platforms=self._platforms)
        try:
            await self._manager.reload(models)
        except ServingError as error:
            if error.code == Code.UNKNOWN:  # the file is in effect, and not every new model of it could be loaded
                self._applied = digest
            raise
        self._applied = digest
        logger.info("The models of %s are in effect: %s", self.path, ", ".join(model.name for model in models))


def _digest(path: Path) -> str:
    """Of the file's contents; empty where it can't be read."""
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError:
        return ""
