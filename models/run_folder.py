"""The run folder: what training leaves and export reads. Standard library only."""

import fcntl
import json
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from models.errors import RunFolderError
from models.files import remove_temporaries, write_json

SCHEMA_VERSION = 1
RECORD_FILE = "run.json"
MODEL_FILE = "model.keras"
HISTORY_FILE = "history.json"
METRICS_FILE = "metrics.json"
CURVES_FILE = "curves.png"
CONFUSION_MATRIX_FILE = "confusion_matrix.png"
SAMPLES_FILE = "samples.npz"
CHECKPOINT_FOLDER = "checkpoints"
LOCK_FILE = "lock"
STATE_FILE = "state.json"
RESULT_FILES = (MODEL_FILE, HISTORY_FILE, METRICS_FILE, CURVES_FILE, CONFUSION_MATRIX_FILE, SAMPLES_FILE)


@dataclass(frozen=True, kw_only=True)
class RunRecord:
    """The content of `run.json`, which is written last: a folder without it is not a finished run.

    Args:
        architecture: Name of the architecture.
        task: "classification".
        data: `name`, `digest` (SHA-256 of the arrays), `sizes` of the three sets, `source`.
        class_labels: Text of class 0, 1, ...
        seed: Of the training.
        config: Every option.
        packages: Versions of what computed it.
        duration_s: Time spent training, over all sittings.
        input_name: Name of the model's input.
        pixel_range: Smallest and largest raw value of the input.
        num_parameters: Number of weights.
        epochs: Epochs that were run.
        best_epoch: The epoch with the best validation loss, counted from 1.
        kept_epoch: The epoch whose weights `model.keras` holds.
        schema_version: Of this file.
    """

    architecture: str
    task: str
    data: Mapping[str, Any]
    class_labels: list[str]
    seed: int
    config: Mapping[str, Any]
    packages: Mapping[str, str]
    duration_s: float
    input_name: str
    pixel_range: list[float]
    num_parameters: int
    epochs: int
    best_epoch: int
    kept_epoch: int
    schema_version: int = SCHEMA_VERSION


def is_finished_run(folder: Path) -> bool:
    """Whether the folder holds a whole run."""
    return (folder / RECORD_FILE).is_file()


def write_record(folder: Path, record: RunRecord) -> None:
    """Writes `run.json`, after everything else."""
    write_json(folder / RECORD_FILE, asdict(record))


def read_record(folder: Path) -> RunRecord:
    """Reads `run.json`.

    Raises:
        RunFolderError: It is missing, unreadable or of another schema, or a file of the run is missing.
    """
    path = folder / RECORD_FILE
    if not path.is_file():
        state = (
            "an unfinished training; run the same command again to continue it" if is_unfinished(folder) else "no run"
        )
        raise RunFolderError(f"{folder} must be a run folder with a {RECORD_FILE}. Received: {state}.")
    try:
        record = RunRecord(**json.loads(path.read_text(encoding="utf-8")))
    except (ValueError, TypeError) as error:
        raise RunFolderError(f"{path} must be a record as `whyserve train` writes it. Received: {error}.") from error
    if record.schema_version != SCHEMA_VERSION:
        raise RunFolderError(f"{path} must have schema_version {SCHEMA_VERSION}. Received: {record.schema_version}.")
    missing = [name for name in RESULT_FILES if not (folder / name).is_file()]
    if missing:
        raise RunFolderError(f"{folder} must hold all files of a run. Missing: {', '.join(missing)}. Train it again.")
    return record


def is_unfinished(folder: Path) -> bool:
    """Whether a training was interrupted here."""
    return (folder / CHECKPOINT_FOLDER).is_dir() and not is_finished_run(folder)


def check_folder(folder: Path, *, overwrite: bool) -> None:
    """Refuses a folder in which no training may begin or continue; changes nothing.

    Args:
        folder: Need not exist.
        overwrite: A run, finished or not, may be replaced.

    Raises:
        RunFolderError: It is a file, holds a finished run, or something that is no run.
    """
    if not folder.exists():
        return
    if not folder.is_dir():
        raise RunFolderError(f"A run is written to a folder. Received: {folder}, which is a file. Choose another name.")
    if is_finished_run(folder):
        if not overwrite:
            raise RunFolderError(f"{folder} holds a finished run already. Choose another folder, or overwrite it.")
    elif not is_unfinished(folder) and any(folder.iterdir()):
        found = ", ".join(sorted(path.name for path in folder.iterdir())[:5])
        raise RunFolderError(
            f"{folder} must be empty or hold a run. Received: a folder with {found}. Choose another folder."
        )


@contextmanager
def open_checkpoints(folder: Path, *, overwrite: bool) -> Iterator[Path]:
    """The folder of the checkpoints, for this process alone; gone afterwards unless a state in it is worth continuing.

    The lock ends with the process, however it ends.

    Args:
        folder: The run folder, as `check_folder` accepts it; made where it is missing.
        overwrite: Remove the run that is there.

    Raises:
        RunFolderError: Another process trains there.
    """
    checkpoints = folder / CHECKPOINT_FOLDER
    checkpoints.mkdir(parents=True, exist_ok=True)
    with (checkpoints / LOCK_FILE).open("w") as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise RunFolderError(
                f"One process at a time trains in a folder. Received: {folder}, in which another one does. Wait for "
                "it, or choose another folder."
            ) from error
        if overwrite:
            _remove_run(folder)
        for place in (folder, checkpoints):
            remove_temporaries(place)
        try:
            yield checkpoints
        finally:
            if is_finished_run(folder) or not (checkpoints / STATE_FILE).is_file():
                shutil.rmtree(checkpoints)
            if not any(folder.iterdir()):
                folder.rmdir()


def _remove_run(folder: Path) -> None:
    """Removes the files of a run and nothing else; the record first, so that no half run looks whole."""
    for name in (RECORD_FILE, *RESULT_FILES):
        (folder / name).unlink(missing_ok=True)
    for path in (folder / CHECKPOINT_FOLDER).iterdir():
        if path.name != LOCK_FILE:
            path.unlink()
