"""Files that are read again when they change: certificates and tokens are renewed while the server runs."""

import asyncio
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from serving.errors import StartError

logger = logging.getLogger(__name__)

# Two calls of stat a second; a renewal is hardly ever more urgent.
POLL_S = 1.0

Stamp = tuple[int, ...] | None


class Reloadable(Protocol):
    """Something that is made from a file."""

    path: Path
    what: str

    def reload(self) -> None:
        """Takes the file's present content.

        Raises:
            StartError: The content can't be used; what was there before stays.
        """
        ...


class Watcher:
    """Reloads files that changed; what can't be used is reported once, and the former content stays in use.

    Args:
        files: What is watched. Each must have been read just before.
    """

    def __init__(self, files: Sequence[Reloadable]) -> None:
        self._stamps = [(file, stamp(file.path)) for file in files]

    async def run(self, *, poll_s: float = POLL_S) -> None:
        """Looks at the files until it is cancelled."""
        while True:
            await asyncio.sleep(poll_s)
            self.look()

    def look(self) -> None:
        """Reloads what has changed since the last look."""
        for index, (file, before) in enumerate(self._stamps):
            now = stamp(file.path)
            if now == before:
                continue
            self._stamps[index] = (file, now)
            try:
                file.reload()
            except StartError as error:
                logger.error("%s stays as it was: %s", file.what, error)  # noqa: TRY400 -- one line says it all
            else:
                logger.info("%s was read again from %s", file.what, file.path)


def stamp(path: Path) -> Stamp:
    """What tells a changed file from an unchanged one; follows links, as a mounted secret is renewed by one."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_mtime_ns, status.st_size, status.st_ino, status.st_dev


def read_text(path: Path, option: str) -> str:
    """The content of a file that an option names.

    Raises:
        StartError: It can't be read; one line.
    """
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise StartError(f"`{option}` must be a readable file. Received: {path}: {error.strerror}.") from error
    except UnicodeDecodeError as error:
        raise StartError(f"`{option}` must be a text file in UTF-8. Received: {path}, which isn't.") from error
