"""Version folders on disk: which there are, and which of them are whole."""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from export.errors import ManifestError
from export.manifest import load_manifest
from serving.engines.base import Engine
from serving.engines.bundle import SAVED_MODEL_FILE, WARMUP_FILE, is_bundle

_VERSION_NAME = re.compile(r"[0-9]{1,19}", re.ASCII)
_LARGEST_VERSION = 2**63 - 1

Fingerprint = tuple[tuple[str, int, int], ...]


@dataclass(frozen=True)
class VersionFolder:
    """One version on disk.

    Attributes:
        version: Its number, the folder's name.
        path: The folder.
        fingerprint: Names, sizes and modification times of its files: what differs was changed.
        incomplete: Why it can't be loaded yet, or empty where nothing is known to be missing.
        verifiable: Whether `incomplete` can be relied on, because a manifest lists the files.
    """

    version: int
    path: Path
    fingerprint: Fingerprint
    incomplete: str = ""
    verifiable: bool = False


def find_versions(base_path: Path) -> dict[int, Path] | None:
    """The version folders of a model, those whose name is a whole number of 64 bits, as `1` or `00000123`.

    Of several names of one number the first in alphabetical order counts. None where the base path itself is missing.
    """
    try:
        names = sorted(entry.name for entry in os.scandir(base_path) if entry.is_dir())
    except (FileNotFoundError, NotADirectoryError):
        return None
    versions: dict[int, Path] = {}
    for name in names:
        version = parse_version(name)
        if version is not None:
            versions.setdefault(version, base_path / name)
    return versions


def inspect_version(version: int, path: Path, engine: Engine) -> VersionFolder:
    """Looks at the files of a version; their contents are for when it is loaded. Blocks on the file system."""
    fingerprint = take_fingerprint(path)
    verifiable = is_bundle(path)
    incomplete = ""
    if not engine.holds_model(path):
        incomplete = f"{path} holds nothing that the {engine.name} engine can load{_advise(path)}."
    elif verifiable:
        incomplete = _missing_from_bundle(path, {name: size for name, size, _ in fingerprint})
    return VersionFolder(version, path, fingerprint, incomplete, verifiable)


def _advise(path: Path) -> str:
    """How to serve a folder that the engine can't load, where it is of a kind that is known."""
    if (path / SAVED_MODEL_FILE).is_file():
        return ": it is a SavedModel. Serve it with --engine=tensorflow, or export the Keras model as a bundle"
    return ""


def parse_version(name: str) -> int | None:
    """The version that a folder's name stands for, or None."""
    if not _VERSION_NAME.fullmatch(name):
        return None
    version = int(name)
    return version if version <= _LARGEST_VERSION else None


def list_models(repository: Path) -> dict[str, Path] | None:
    """The folders below `repository` that hold version folders, by name; None where `repository` is missing."""
    try:
        folders = sorted(Path(entry.path) for entry in os.scandir(repository) if entry.is_dir())
    except (FileNotFoundError, NotADirectoryError):
        return None
    return {folder.name: folder for folder in folders if not folder.name.startswith(".") and _holds_versions(folder)}


def _holds_versions(folder: Path) -> bool:
    """Whether there is a version folder; one that can't be read is a model all the same, and reported as such."""
    try:
        return bool(find_versions(folder))
    except OSError:
        return True


def _missing_from_bundle(path: Path, sizes: Mapping[str, int]) -> str:
    """Compares names and sizes only: digests, and a manifest that is none, are for when it is loaded."""
    try:
        files = load_manifest(path).files
    except ManifestError:
        return ""
    short = [name for name, entry in files.items() if sizes.get(name, -1) < entry.bytes and name != WARMUP_FILE]
    return f"{path} is not complete: {', '.join(sorted(short))} missing or too short." if short else ""


def take_fingerprint(path: Path) -> Fingerprint:
    """Name, size and change time of every file below `path`; a file that vanishes meanwhile is left out.

    The change time is also another where a copy kept the modification time of what it was copied from.
    """
    found = []
    for folder, _, names in os.walk(path):
        for name in names:
            file = Path(folder, name)
            try:
                stat = file.stat()
            except FileNotFoundError:
                continue
            found.append((file.relative_to(path).as_posix(), stat.st_size, stat.st_ctime_ns))
    return tuple(sorted(found))
