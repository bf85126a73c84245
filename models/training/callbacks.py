"""The Keras callbacks of a training: progress, and a state on disk after each epoch."""

import math
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import keras

from models.errors import ModelsError
from models.files import write_atomically
from models.progress import Progress
from models.training.config import TrainingConfig
from models.training.random_states import read_random_states
from models.training.state import TrainingState, save_state, weights_file


class TrainingDivergedError(ModelsError):
    """The loss is no longer a finite number."""


class ProgressReport(keras.callbacks.Callback):
    """Tells `progress` of each batch, and of each epoch's figures."""

    def __init__(self, progress: Progress, epochs: int) -> None:
        super().__init__()
        self._progress = progress
        self._epochs = epochs
        self._label = ""

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:  # noqa: ARG002 - Keras passes it by name
        """Names the part that begins."""
        self._label = f"epoch {epoch + 1}/{self._epochs}"

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:  # noqa: ARG002 - Keras passes it by name
        """Moves on by one batch."""
        self._progress.step(self._label, batch + 1, self.params["steps"])

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:  # noqa: ARG002 - Keras
        """One line of figures."""
        figures = "  ".join(f"{name} {value:.4f}" for name, value in (logs or {}).items() if name != "learning_rate")
        self._progress.message(f"{self._label}  {figures}")


class StateKeeper(keras.callbacks.Callback):
    """Commits the training's state after each epoch, and stops where it is finished.

    Keras' `BackupAndRestore` keeps the weights and the epoch, but neither history nor best weights, and a process that
    is killed while it writes leaves a torn file. Here the weights are written beside and renamed, then `state.json`
    commits.

    Args:
        folder: Of the checkpoints.
        state: How far the training came before.
        config: Epochs and early stopping.
    """

    def __init__(self, folder: Path, state: TrainingState, config: TrainingConfig) -> None:
        super().__init__()
        self.state = state
        self._folder = folder
        self._config = config
        self._since = time.monotonic()

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Adds the epoch to the history and commits.

        Raises:
            TrainingDivergedError: The loss is not finite; the state before this epoch stays.
        """
        figures = {name: float(value) for name, value in (logs or {}).items()}
        if not all(math.isfinite(value) for value in figures.values()):
            raise TrainingDivergedError(
                f"Training diverged in epoch {epoch + 1}: {figures}. Lower `learning_rate`, set `clip_norm`, or "
                "lengthen `warmup_epochs`."
            )
        figures["learning_rate"] = float(self.model.optimizer.learning_rate)
        history = {name: [*self.state.history.get(name, []), value] for name, value in figures.items()}
        now = time.monotonic()
        self.state = replace(
            self.state,
            history=history,
            random_states=read_random_states(self.model),
            duration_s=self.state.duration_s + now - self._since,
        )
        self._since = now
        write_atomically(weights_file(self._folder, self.state.epochs), self.model.save_weights)
        save_state(self._folder, self.state)
        self.model.stop_training = self.state.is_finished(self._config.epochs, self._config.early_stopping)
