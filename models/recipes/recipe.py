"""A recipe: a training that is known to work, with the figure it reached beside the published one."""

from dataclasses import dataclass

from models.training.config import TrainingConfig


@dataclass(frozen=True)
class Figure:
    """A test accuracy, and where it is from: a source, or the machine it was measured on."""

    accuracy: float
    origin: str


@dataclass(frozen=True)
class Recipe:
    """A named training.

    Args:
        name: What the command line calls it: architecture-data.
        summary: What it is for, in one line.
        config: Everything that is not a default.
        measured: What this configuration reached.
        published: What others report, with what differs.
        command: The command that measures it again.
    """

    name: str
    summary: str
    config: TrainingConfig
    measured: Figure
    published: Figure
    command: str
