"""Training: `train(TrainingConfig(...), folder)`. Importing it is cheap: TensorFlow is loaded by `train`."""

from models.training.config import TrainingConfig
from models.training.trainer import RunResult, train

__all__ = ["RunResult", "TrainingConfig", "train"]
