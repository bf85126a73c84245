"""Finds the files of a data set: the user's folder, the cache, or the official address with its digest checked."""

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from models.errors import DataSetCorruptError, DataSetUnavailableError
from models.progress import Progress

DATA_VARIABLE = "WHYSERVE_DATA"
CACHE_VARIABLE = "WHYSERVE_CACHE"
CHUNK_BYTES = 1 << 20
TIMEOUT_S = 30.0


@dataclass(frozen=True)
class RemoteFile:
    """A file at its official address.

    Args:
        url: Where it is downloaded from; its last part is the file's name.
        num_bytes: Its size.
        sha256: Its digest.
    """

    url: str
    num_bytes: int
    sha256: str

    @property
    def name(self) -> str:
        """The file's name."""
        return self.url.rsplit("/", 1)[-1]


@dataclass(frozen=True)
class FoundFile:
    """A file on this machine. `official` says whether its digest is that of the official file."""

    path: Path
    official: bool


def user_folders(names: Sequence[str]) -> list[Path]:
    """Where the user may have put files: each of `names` below `WHYSERVE_DATA`, then that folder itself."""
    root = os.environ.get(DATA_VARIABLE)
    return [Path(root) / name for name in names] + [Path(root)] if root else []


def cache_folder(name: str) -> Path:
    """Where downloads of the data set `name` are kept."""
    root = os.environ.get(CACHE_VARIABLE)
    return (Path(root) if root else Path.home() / ".cache" / "whyserve") / "data" / name


def fetch(file: RemoteFile, data_set: str, progress: Progress) -> FoundFile:
    """The file from the user's folder or the cache, else downloaded into the cache.

    A file in the user's folder is taken as it is, and the result says whether it is the official one. A file in the
    cache was checked when it came.

    Raises:
        DataSetUnavailableError: It is nowhere and the download failed.
        DataSetCorruptError: The download is not the file that was expected.
    """
    for folder in user_folders([data_set]):
        if (folder / file.name).is_file():
            return FoundFile(folder / file.name, sha256_of(folder / file.name) == file.sha256)
    cached = cache_folder(data_set) / file.name
    if not cached.is_file():
        _download(file, cached, data_set, progress)
    return FoundFile(cached, official=True)


def sha256_of(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal digits."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _download(file: RemoteFile, target: Path, data_set: str, progress: Progress) -> None:
    """Writes beside the target, checks, then renames: an interrupted download is never taken for the file."""
    progress.message(f"data: downloading {file.url} to {target}")
    target.parent.mkdir(parents=True, exist_ok=True)
    # One name a process: two that download at once do not write into each other's file.
    part = target.with_name(f"{target.name}.{os.getpid()}.part")
    try:
        received = _receive(file, part, data_set, progress)
        if received != file.sha256:
            raise DataSetCorruptError(
                f"{file.url} is not the file that was expected: SHA-256 must be {file.sha256}. Received: {received} "
                f"({part.stat().st_size} bytes, expected {file.num_bytes}). Try again, or put the file into "
                f"${DATA_VARIABLE}/{data_set}/."
            )
        part.replace(target)
    finally:
        part.unlink(missing_ok=True)


def _receive(file: RemoteFile, part: Path, data_set: str, progress: Progress) -> str:
    """Downloads into `part` and returns the SHA-256 of what came."""
    import httpx

    sha256 = hashlib.sha256()
    try:
        with (
            httpx.stream("GET", file.url, follow_redirects=True, timeout=TIMEOUT_S) as answer,
            part.open("wb") as stream,
        ):
            answer.raise_for_status()
            done = 0
            # Raw bytes: a server that labels a .gz file "Content-Encoding: gzip" must not have it unpacked on the way.
            for chunk in answer.iter_raw(CHUNK_BYTES):
                stream.write(chunk)
                sha256.update(chunk)
                done += len(chunk)
                progress.step(f"download {file.name}", min(done, file.num_bytes), file.num_bytes)
            stream.flush()
            os.fsync(stream.fileno())
    except httpx.HTTPError as error:
        raise DataSetUnavailableError(_unavailable(file, data_set, error)) from error
    return sha256.hexdigest()


def _unavailable(file: RemoteFile, data_set: str, error: Exception) -> str:
    looked = [str(folder / file.name) for folder in [*user_folders([data_set]), cache_folder(data_set)]]
    variable = "" if os.environ.get(DATA_VARIABLE) else f" (${DATA_VARIABLE} is not set)"
    # httpx adds a second line about status codes.
    reason = f"{type(error).__name__}: {str(error).partition(chr(10))[0]}"
    return (
        f"Data set {data_set!r} needs {file.name}. Looked for: {', '.join(looked)}{variable}. Downloading "
        f"{file.url} failed: {reason}. Connect to the network, or put "
        f"the file into a folder {data_set!r} and set {DATA_VARIABLE} to the folder above it."
    )
