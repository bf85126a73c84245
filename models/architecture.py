"""What an architecture is told about its task and its layers, and the entry it has in the registry."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from models.errors import TrainingConfigError

INITIALIZERS = ("he_normal", "he_uniform", "glorot_normal", "glorot_uniform")


@dataclass(frozen=True)
class ImageTask:
    """Classification of images: what the data decide about a model.

    Args:
        image_shape: Height, width, channels.
        num_classes: At least 2.
        pixel_range: Smallest and largest raw pixel value, mapped to 0 and 1 inside the model.
    """

    image_shape: tuple[int, int, int]
    num_classes: int
    pixel_range: tuple[float, float] = (0.0, 255.0)

    def __post_init__(self) -> None:
        if len(self.image_shape) != 3 or min(self.image_shape) < 1:
            raise TrainingConfigError(
                f"`image_shape` must be (height, width, channels), each >= 1. Received: image_shape={self.image_shape}"
            )
        if self.num_classes < 2:
            raise TrainingConfigError(f"`num_classes` must be >= 2. Received: num_classes={self.num_classes}")
        if not self.pixel_range[0] < self.pixel_range[1]:
            raise TrainingConfigError(f"`pixel_range` must rise. Received: pixel_range={self.pixel_range}")


@dataclass(frozen=True, kw_only=True)
class LayerOptions:
    """Good practice that every architecture offers.

    Args:
        initializer: He et al. 2015 (arXiv 1502.01852, eq. 10) for ReLU, or Glorot and Bengio 2010 (eq. 16).
        dropout: Share of units dropped, in [0, 1); Srivastava et al. 2014.
        batch_normalization: Between a linear layer and its ReLU; Ioffe and Szegedy 2015 (arXiv 1502.03167).
        l1: Factor of the sum of absolute kernel values in the loss.
        l2: Factor of the sum of squared kernel values in the loss.
    """

    initializer: str = "he_normal"
    dropout: float = 0.5
    batch_normalization: bool = False
    l1: float = 0.0
    l2: float = 0.0


@dataclass(frozen=True)
class Architecture:
    """A family of models that can be built for any task of its kind.

    Args:
        name: What the command line calls it.
        summary: What it is for, in one line.
        build: `build(task, layers, **options)` returns an untrained `keras.Model` that takes raw values.
        options: The names and default values of the options `build` takes beside `task` and `layers`.
        dropout: The share that fits this architecture when the caller names none.
        papers: Where it comes from.
        task: The kind of task.
    """

    name: str
    summary: str
    build: Callable[..., Any]
    options: Mapping[str, Any] = field(default_factory=dict)
    dropout: float = 0.5
    papers: tuple[str, ...] = ()
    task: str = "classification"

    def check_options(self, options: Mapping[str, Any]) -> None:
        """Refuses options that this architecture does not have.

        Raises:
            TrainingConfigError: The text lists the known options with their defaults.
        """
        unknown = sorted(set(options) - set(self.options))
        if unknown:
            known = ", ".join(f"{name}={value}" for name, value in self.options.items())
            raise TrainingConfigError(
                f"Architecture {self.name!r} has no option {', '.join(map(repr, unknown))}. "
                f"Known, with defaults: {known}."
            )


def check_sizes(name: str, sizes: object) -> tuple[int, ...]:
    """A non-empty tuple of positive sizes, from any sequence of whole numbers (JSON gives lists).

    Raises:
        TrainingConfigError: Anything else.
    """
    if isinstance(sizes, (list, tuple)) and sizes and all(type(size) is int and size > 0 for size in sizes):
        return tuple(sizes)
    raise TrainingConfigError(f"`{name}` must be one or more whole numbers >= 1. Received: {name}={sizes!r}")
