"""Fits an array to a model's input: batch axis, channel axis, dtype."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from serving.types import TensorInfo
from whyserve.errors import CommandError


@dataclass(frozen=True)
class Examples:
    """A batch read from a file.

    Args:
        inputs: Arrays by input name, batch first, of the model's dtypes.
        labels: The true labels, where the file has them.
        feature_names: The names of the features, where the file has them.
        notes: What was changed to fit the model, for people.
        words: The words of each example, where it was given as text.
    """

    inputs: Mapping[str, np.ndarray]
    labels: tuple[str, ...] | None = None
    feature_names: tuple[str, ...] = ()
    notes: tuple[str, ...] = field(default_factory=tuple)
    words: tuple[tuple[str, ...], ...] = ()

    @property
    def rows(self) -> int:
        """How many examples there are."""
        return len(next(iter(self.inputs.values())))

    def head(self, limit: int | None) -> "Examples":
        """The first `limit` examples; all of them with None."""
        if limit is None or limit >= self.rows:
            return self
        inputs = {name: array[:limit] for name, array in self.inputs.items()}
        labels = None if self.labels is None else self.labels[:limit]
        notes = (*self.notes, f"the first {limit} of {self.rows} examples")
        return Examples(inputs, labels, self.feature_names, notes, self.words[:limit])


def only_input(specs: Mapping[str, TensorInfo], kind: str) -> TensorInfo:
    """The model's input, for a kind of file that holds a single one.

    Args:
        specs: The model's inputs by name.
        kind: The kind of file, for the message.

    Returns:
        The one input.
    """
    if len(specs) != 1:
        raise CommandError(
            f"{kind} holds one input, but the model takes {len(specs)}: {', '.join(specs)}. "
            "Write them to an .npz file (one array for each name) or to .json rows of objects."
        )
    return next(iter(specs.values()))


def fit(array: np.ndarray, spec: TensorInfo) -> np.ndarray:
    """The array in the input's shape and dtype.

    A single example gets its batch axis, an image without channels its channel axis, and flat rows the input's shape;
    numbers are converted where nothing is lost but precision.

    Args:
        array: What was read.
        spec: The model's input.

    Returns:
        The array, batch first, of `spec.dtype`.

    Raises:
        CommandError: It can't be what the model takes.
    """
    return _convert(_reshape(array, spec), spec)


def _matches(shape: tuple[int, ...], expected: tuple[int | None, ...]) -> bool:
    return len(shape) == len(expected) and all(want in (None, got) for got, want in zip(shape, expected, strict=True))


def _reshape(array: np.ndarray, spec: TensorInfo) -> np.ndarray:
    if spec.shape is None:
        return array
    for candidate in (array, array[None], array[..., None], array[None, ..., None]):
        if _matches(candidate.shape, spec.shape):
            return candidate
    row = [size for size in spec.shape[1:] if size is not None]
    if array.ndim == 2 and len(row) == len(spec.shape) - 1 and array.shape[1] == np.prod(row):
        return array.reshape(-1, *row)
    wanted = ", ".join("?" if size is None else str(size) for size in spec.shape)
    raise CommandError(f"Expected examples of shape ({wanted}) for input '{spec.name}'. Received: shape {array.shape}")


def _convert(array: np.ndarray, spec: TensorInfo) -> np.ndarray:
    if spec.dtype == object:
        encoded = [item if isinstance(item, bytes) else str(item).encode() for item in array.ravel().tolist()]
        return np.array(encoded, object).reshape(array.shape)
    if array.dtype.kind not in "biuf":
        raise CommandError(f"Expected numbers ({spec.dtype}) for input '{spec.name}'. Received: {array.dtype}")
    if spec.dtype.kind in "iu" and not np.array_equal(array, np.trunc(array)):
        raise CommandError(f"Expected whole numbers ({spec.dtype}) for input '{spec.name}'. Received: fractions")
    converted = array.astype(spec.dtype)
    if spec.dtype.kind in "iu" and not np.array_equal(converted, array):
        raise CommandError(f"Expected numbers in the range of {spec.dtype} for input '{spec.name}'. Received: others")
    return converted
