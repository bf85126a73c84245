"""A data set in memory, its digest, and the entry it has in the registry. Imports NumPy only."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from models.architecture import ImageTask
from models.progress import Progress


@dataclass(frozen=True, eq=False)
class Examples:
    """Raw images `(examples, height, width, channels) uint8` and their classes `(examples,) int64`."""

    images: npt.NDArray[np.uint8]
    labels: npt.NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True, eq=False)
class DataSet:
    """The three sets of examples, and where they come from.

    Args:
        name: As registered.
        train: What the weights are fitted to.
        validation: What decides about stopping and the best epoch.
        test: Held out; touched once, for the metrics.
        class_labels: Text of class 0, 1, ...
        pixel_range: Smallest and largest value a raw pixel can take.
        source: Where the files were found and what is known of them.
    """

    name: str
    train: Examples
    validation: Examples
    test: Examples
    class_labels: tuple[str, ...]
    pixel_range: tuple[float, float]
    source: str

    @property
    def task(self) -> ImageTask:
        """What a model has to know of the data."""
        height, width, channels = self.train.images.shape[1:]
        return ImageTask((height, width, channels), len(self.class_labels), self.pixel_range)

    @property
    def sizes(self) -> dict[str, int]:
        """Number of examples in each set."""
        return {"train": len(self.train), "validation": len(self.validation), "test": len(self.test)}

    def digest(self) -> str:
        """SHA-256 of all arrays, split included: the same digest is the same training data, whatever file held it."""
        sha256 = hashlib.sha256()
        for name, examples in (("train", self.train), ("validation", self.validation), ("test", self.test)):
            for array in (examples.images, examples.labels.astype("<i8")):
                sha256.update(f"{name} {array.dtype.str} {array.shape}\n".encode())
                sha256.update(np.ascontiguousarray(array).data)
        return sha256.hexdigest()


@dataclass(frozen=True)
class DataSetEntry:
    """A data set that can be loaded by name; reading the entry itself loads nothing.

    Args:
        name: What the command line calls it.
        summary: What is in it, in one line.
        image_shape: Height, width, channels.
        class_labels: Text of class 0, 1, ...
        num_examples: Number of examples of the whole data set.
        source: The official address.
        licence: As its authors state it.
        citation: The paper to cite.
        load: `load(split_seed=0, progress=...)` returns the `DataSet`.
    """

    name: str
    summary: str
    image_shape: tuple[int, int, int]
    class_labels: tuple[str, ...]
    num_examples: int
    source: str
    licence: str
    citation: str
    load: Callable[[int, Progress], DataSet]
