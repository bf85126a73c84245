"""Every option of a training, with its default, its bounds and the text that the command line shows."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from models.architecture import INITIALIZERS
from models.errors import TrainingConfigError

# Learning rate and decoupled weight decay when none is given. Lion: Chen et al. 2023 (arXiv 2302.06675, section 5)
# advise a rate 3 to 10 times smaller than AdamW's and a decay as much larger.
OPTIMIZER_DEFAULTS = {"sgd": (0.05, 0.0), "adam": (1e-3, 0.0), "adamw": (1e-3, 0.01), "lion": (2e-4, 0.05)}
SCHEDULES = ("cosine", "constant")
CLASS_WEIGHTS = ("none", "balanced")
PRECISIONS = ("float32", "mixed_float16", "mixed_bfloat16")
STRATEGIES = ("none", "mirrored", "multi_worker_mirrored")


def _option(default: Any, text: str, choices: tuple[str, ...] | None = None) -> Any:
    return field(default=default, metadata={"help": text, "choices": choices})


@dataclass(frozen=True, kw_only=True)
class TrainingConfig:
    """What is trained, on what, and how; each field's `metadata` holds `help` and `choices` for the command line.

    The same configuration and the same data give the same weights on a CPU.

    Raises:
        TrainingConfigError: A value is out of its bounds.

    Example:
        >>> TrainingConfig(architecture="cnn", data="digits", epochs=5).optimizer
        'adamw'
    """

    architecture: str = field(metadata={"help": "name of an architecture", "choices": None})
    data: str = field(metadata={"help": "name of a data set", "choices": None})
    architecture_options: Mapping[str, Any] = field(
        default_factory=dict, metadata={"help": "options of the architecture, as in units", "choices": None}
    )
    epochs: int = _option(20, "passes over the training set")
    batch_size: int = _option(64, "examples a step, over all devices together")
    seed: int = _option(0, "of initial weights, order, augmentation and dropout")
    split_seed: int = _option(0, "of the split into training, validation and test set")
    initializer: str = _option("he_normal", "initial kernels", INITIALIZERS)
    optimizer: str = _option("adamw", "how weights follow gradients", tuple(OPTIMIZER_DEFAULTS))
    learning_rate: float | None = _option(None, "peak learning rate; by default the optimizer's usual one")
    momentum: float = _option(0.9, "Nesterov momentum of sgd")
    weight_decay: float | None = _option(None, "decoupled decay of kernels; by default the optimizer's usual one")
    schedule: str = _option("cosine", "course of the learning rate", SCHEDULES)
    warmup_epochs: float = _option(1.0, "epochs of linear warm-up from 0 to the peak learning rate")
    clip_norm: float | None = _option(1.0, "largest global norm of a gradient; none turns clipping off")
    l1: float = _option(0.0, "factor of the kernels' absolute values in the loss")
    l2: float = _option(0.0, "factor of the kernels' squares in the loss")
    dropout: float | None = _option(None, "share of units dropped; by default the architecture's own")
    batch_normalization: bool = _option(False, "batch normalisation before every ReLU")
    shift: float = _option(0.0, "augmentation: largest shift, as a share of height and width")
    rotation: float = _option(0.0, "augmentation: largest rotation, in degrees")
    flip: bool = _option(False, "augmentation: mirror left and right at random")
    early_stopping: int | None = _option(None, "stop after so many epochs without a better validation loss")
    restore_best: bool = _option(True, "keep the weights of the epoch with the best validation loss, not of the last")
    class_weights: str = _option("none", "weight of the classes in the loss", CLASS_WEIGHTS)
    label_smoothing: float = _option(0.0, "share of the target that is spread over all classes")
    precision: str = _option("float32", "what the layers compute in; mixed ones keep float32 weights", PRECISIONS)
    strategy: str = _option("none", "tf.distribute strategy", STRATEGIES)

    def __post_init__(self) -> None:
        for name in ("epochs", "batch_size"):
            self._require(name, getattr(self, name) >= 1, ">= 1")
        for name in ("seed", "split_seed"):
            self._require(name, 0 <= getattr(self, name) < 2**31, "in [0, 2**31)")
        for name in ("warmup_epochs", "l1", "l2", "rotation"):
            self._require(name, getattr(self, name) >= 0, ">= 0")
        for name in ("momentum", "shift", "label_smoothing"):
            self._require(name, 0 <= getattr(self, name) < 1, "in [0, 1)")
        self._require("dropout", self.dropout is None or 0 <= self.dropout < 1, "in [0, 1) or None")
        self._require("weight_decay", self.weight_decay is None or self.weight_decay >= 0, ">= 0 or None")
        for name in ("learning_rate", "clip_norm"):
            self._require(name, getattr(self, name) is None or getattr(self, name) > 0, "> 0 or None")
        self._require("early_stopping", self.early_stopping is None or self.early_stopping >= 1, ">= 1 or None")
        for option in fields(self):
            choices = option.metadata["choices"]
            if choices:
                self._require(option.name, getattr(self, option.name) in choices, f"one of {', '.join(choices)}")

    def _require(self, name: str, holds: bool, bounds: str) -> None:
        if not holds:
            raise TrainingConfigError(f"`{name}` must be {bounds}. Received: {name}={getattr(self, name)!r}")

    @property
    def peak_learning_rate(self) -> float:
        """`learning_rate`, or the optimizer's usual one."""
        return OPTIMIZER_DEFAULTS[self.optimizer][0] if self.learning_rate is None else self.learning_rate

    @property
    def decay(self) -> float:
        """`weight_decay`, or the optimizer's usual one."""
        return OPTIMIZER_DEFAULTS[self.optimizer][1] if self.weight_decay is None else self.weight_decay

    def as_json(self) -> dict[str, Any]:
        """Every option, as JSON writes and reads it."""
        options = {
            name: list(value) if isinstance(value, tuple) else value
            for name, value in self.architecture_options.items()
        }
        return {**asdict(self), "architecture_options": options}
