"""Writing files so that a reader never meets half of one."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

TEMPORARY_PREFIX = ".writing-"


def write_atomically(path: Path, write: Callable[[Path], object]) -> None:
    """Lets `write` fill a file beside `path`, flushes it to the disk and renames it.

    The temporary name keeps the suffixes, by which Keras and Matplotlib choose the format.
    """
    temporary = path.with_name(f"{TEMPORARY_PREFIX}{os.getpid()}.{path.name}")
    try:
        write(temporary)
        with temporary.open("rb") as stream:
            os.fsync(stream.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def write_json(path: Path, content: Any) -> None:
    """Writes JSON atomically; NaN and infinity, which JSON lacks, are refused.

    Raises:
        ValueError: A number that is not finite.
    """
    text = json.dumps(content, indent=2, allow_nan=False) + "\n"
    write_atomically(path, lambda temporary: temporary.write_text(text, encoding="utf-8"))


def remove_temporaries(folder: Path) -> None:
    """Removes what a process left that was killed while it wrote into `folder`."""
    for path in folder.glob(f"{TEMPORARY_PREFIX}*"):
        path.unlink(missing_ok=True)
