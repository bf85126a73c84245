"""Publishing a bundle: built in a hidden folder beside the versions, and renamed to its number when it is complete.

A server that watches `<repository>/<name>/` sees a version whole or not at all, whatever happens to the process that
makes it. A folder that a killed process left behind is removed by the next export of the same name: the kernel let go
of its lock when the process died.
"""

import contextlib
import fcntl
import os
import re
import shutil
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

from export.errors import PublicationError

STAGING_PREFIX = ".whyserve-export-"
MAX_VERSION = (1 << 63) - 1

_LOCK_FILE = "lock"
_BUNDLE_FOLDER = "bundle"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_VERSION = re.compile(r"[0-9]+")
# A folder without a lock is either being made this moment or left by a process killed in that moment.
_UNLOCKED_GRACE_S = 3600.0


@contextlib.contextmanager
def staging(repository: Path, name: str) -> Iterator[Path]:
    """An empty folder on the repository's file system to build a bundle of `name` in; gone when the block is left.

    Raises:
        PublicationError: The name isn't fit for a path and a URL, or the repository can't be written to.
    """
    check_name(name)
    model_folder = repository / name
    created = [folder for folder in (model_folder, *model_folder.parents) if not folder.exists()]
    try:
        model_folder.mkdir(parents=True, exist_ok=True)
        remove_stale(model_folder)
        folder = model_folder / f"{STAGING_PREFIX}{uuid.uuid4().hex}"
        folder.mkdir()
        lock = _locked(folder)
    except OSError as error:
        raise PublicationError(
            f"The repository must be a folder that can be written to. Received: {repository}: {error}"
        ) from error
    try:
        bundle = folder / _BUNDLE_FOLDER
        bundle.mkdir()
        yield bundle
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(lock)
        for empty in created:
            with contextlib.suppress(OSError):  # no longer empty: something was published
                empty.rmdir()


def publish(bundle: Path, version: int | None, finish: Callable[[int], None]) -> Path:
    """Give a bundle its version number and make it visible under it, in one step that either happens or doesn't.

    Args:
        bundle: The folder that `staging` gave.
        version: The number, or None for the next free one.
        finish: Writes the files that hold the version, before everything is flushed to the disk.

    Returns:
        The published folder.

    Raises:
        PublicationError: The version exists.
    """
    model_folder = bundle.parent.parent
    while True:
        number = next_version(model_folder) if version is None else version
        check_free(model_folder, number)
        finish(number)
        flush(bundle)
        try:
            bundle.rename(model_folder / str(number))
        except FileExistsError as error:
            raise _exists(model_folder, number) from error
        except OSError as error:
            # Another export took the number in the meantime: a folder that isn't empty is never replaced.
            if version is None and (model_folder / str(number)).exists():
                continue
            raise PublicationError(f"Version {number} can't be published in {model_folder}: {error}") from error
        _fsync(model_folder)
        return model_folder / str(number)


def check_name(name: str) -> None:
    """Refuse names that can't be a folder, a part of a URL and a model's name alike.

    Raises:
        PublicationError: It is such a name.
    """
    if not _NAME.fullmatch(name):
        raise PublicationError(
            "The name of a model must start with a letter or digit and hold letters, digits, `.`, `_` and `-` only. "
            f"Received: name={name!r}."
        )


def check_free(model_folder: Path, version: int) -> None:
    """Refuse a version that exists, under whatever spelling of its number, or isn't one.

    Raises:
        PublicationError: It is such a version.
    """
    if not 0 <= version <= MAX_VERSION:
        raise PublicationError(f"A version must lie in [0, 2^63 - 1]. Received: version={version}.")
    if version in versions(model_folder):
        raise _exists(model_folder, version)


def versions(model_folder: Path) -> list[int]:
    """The versions there are, ascending; `00000123` is one, as TensorFlow Serving reads it."""
    if not model_folder.is_dir():
        return []
    return sorted(int(entry.name) for entry in model_folder.iterdir() if _VERSION.fullmatch(entry.name))


def next_version(model_folder: Path) -> int:
    """One more than the newest version; 1 for the first."""
    return max(versions(model_folder), default=0) + 1


def remove_stale(model_folder: Path) -> None:
    """Remove what exports left behind that were killed; those that still run keep their folders."""
    for folder in model_folder.glob(f"{STAGING_PREFIX}*"):
        if _is_stale(folder):
            shutil.rmtree(folder, ignore_errors=True)


def flush(directory: Path) -> None:
    """Force every file and folder below to the disk, so that a rename can't become visible before what it names."""
    for root, _, files in os.walk(directory, topdown=False):
        for file in files:
            _fsync(Path(root) / file)
        _fsync(Path(root))


def _exists(model_folder: Path, version: int) -> PublicationError:
    return PublicationError(
        f"Version {version} of {model_folder.name!r} exists in {model_folder.parent}; a published version never "
        "changes. "
        f"Export without `--version` for the next free one ({next_version(model_folder)}), or delete the folder first."
    )


def _locked(folder: Path) -> int:
    new = folder / f"{_LOCK_FILE}.new"
    descriptor = os.open(new, os.O_CREAT | os.O_RDWR, 0o600)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    new.rename(folder / _LOCK_FILE)  # seen under its name only once it is held
    return descriptor


def _is_stale(folder: Path) -> bool:
    try:
        descriptor = os.open(folder / _LOCK_FILE, os.O_RDWR)
    except FileNotFoundError:
        with contextlib.suppress(FileNotFoundError):
            return time.time() - folder.stat().st_mtime > _UNLOCKED_GRACE_S
        return False
    except OSError:
        return False  # another user's
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    else:
        return True
    finally:
        os.close(descriptor)


def _fsync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
