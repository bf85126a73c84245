"""What an interrupted training leaves behind, so that the same command continues it."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from models.errors import RunFolderError
from models.files import write_json
from models.run_folder import STATE_FILE

SCHEMA_VERSION = 1
MONITOR = "val_loss"


@dataclass(frozen=True)
class TrainingState:
    """How far a training came. `state.json` is its point of commitment: weights that it does not name do not count.

    Args:
        config: Every option, as JSON.
        data_digest: Of the data it is trained on.
        history: A list of one value an epoch for each quantity.
        random_states: Of the model's random generators.
        duration_s: Time spent so far, over all sittings.
    """

    config: Mapping[str, Any]
    data_digest: str
    history: Mapping[str, list[float]] = field(default_factory=dict)
    random_states: list[list[int]] = field(default_factory=list)
    duration_s: float = 0.0

    @property
    def epochs(self) -> int:
        """Epochs that are done."""
        return len(self.history.get(MONITOR, ()))

    @property
    def best_epoch(self) -> int:
        """The epoch with the smallest validation loss, counted from 1; the first of several."""
        losses = self.history[MONITOR]
        return losses.index(min(losses)) + 1

    def is_finished(self, epochs: int, patience: int | None) -> bool:
        """Whether all epochs are done, or `patience` of them passed without a better validation loss."""
        if self.epochs >= epochs:
            return True
        return patience is not None and self.epochs > 0 and self.epochs - self.best_epoch >= patience


def weights_file(folder: Path, epoch: int) -> Path:
    """Where the weights (model and optimizer) after `epoch` are kept; Keras asks for this suffix."""
    return folder / f"epoch-{epoch:05d}.weights.h5"


def save_state(folder: Path, state: TrainingState) -> None:
    """Commits a state whose weights are written, then removes the weights that are neither its latest nor its best."""
    write_json(folder / STATE_FILE, {"schema_version": SCHEMA_VERSION, **asdict(state)})
    kept = {weights_file(folder, state.epochs), weights_file(folder, state.best_epoch)}
    for path in folder.glob("*.weights.h5"):
        if path not in kept:
            path.unlink()


def load_state(folder: Path, config: Mapping[str, Any], data_digest: str) -> TrainingState:
    """The state in `folder`, or one of no epochs where nothing was committed.

    Raises:
        RunFolderError: What was interrupted is another training: other options or other data.
    """
    path = folder / STATE_FILE
    if not path.is_file():
        return TrainingState(config, data_digest)
    content = json.loads(path.read_text(encoding="utf-8"))
    content.pop("schema_version")
    state = TrainingState(**content)
    differences = [
        f"{name}={state.config.get(name)!r} there, {config.get(name)!r} now"
        for name in sorted({*config, *state.config})
        if state.config.get(name) != config.get(name)
    ]
    if state.data_digest != data_digest:
        differences.append(f"data digest {state.data_digest[:12]} there, {data_digest[:12]} now")
    if differences:
        raise RunFolderError(
            f"{folder.parent} holds an interrupted training with other options: {'; '.join(differences)}. "
            "Continue it with its own options, choose another folder, or ask to overwrite it."
        )
    return state
