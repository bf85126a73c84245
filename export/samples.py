"""Representative inputs: what a bundle's formats are compared on, warmed up with and measured on."""

import math
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from itertools import islice
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from export.errors import SamplesError
from export.open_sizes import FURTHER, are_open, cut, example_shape
from export.trial import computes

# Enough rows that a batch has more than one, few enough that big inputs don't make the checks slow.
MAX_ROWS = 8
_MAX_BATCH_BYTES = 4 << 20
_SEED = 20260101
_DEFAULT_VOCABULARY = 10


@dataclass(frozen=True)
class Batch:
    """Inputs of several examples, and what kind of values they are."""

    kind: str
    inputs: dict[str, np.ndarray]

    @property
    def rows(self) -> int:
        """Number of examples."""
        return len(next(iter(self.inputs.values())))

    @cached_property
    def parts(self) -> "list[Batch]":
        """The first example alone, and all where there are more; the same arrays however often they are asked for."""
        first = Batch(self.kind, {name: values[:1] for name, values in self.inputs.items()})
        return [first, self] if self.rows > 1 else [self]


@dataclass(frozen=True)
class Samples:
    """Batches of representative inputs, and where they come from.

    Open dimensions have several sizes; where the model takes but one, `origin` says so.
    """

    origin: str
    batches: tuple[Batch, ...]


def read_samples(path: Path, model: keras.Model, specs: Mapping[str, tf.TensorSpec]) -> Samples:
    """Examples from an `.npz` file, one array for each input of the model, examples first; others are left out.

    Where the model leaves dimensions open, a second batch holds the same examples with less of them.

    Raises:
        SamplesError: The file can't be read, or lacks an input, or an array has another shape, dtype or length.
    """
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            missing = [name for name in specs if name not in archive.files]
            if missing:
                raise SamplesError(
                    f"{path} must hold one array for each input of the model: {sorted(specs)}. Received: "
                    f"{sorted(archive.files)}."
                )
            arrays = {name: archive[name] for name in specs}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, AttributeError) as error:
        raise SamplesError(f"{path} must be an `.npz` file of arrays. Received: {error}.") from error
    arrays = {name: _fitted(path, name, array, specs[name]) for name, array in arrays.items()}
    lengths = {name: len(array) for name, array in arrays.items()}
    if len(set(lengths.values())) != 1 or 0 in lengths.values():
        raise SamplesError(f"{path} must hold as many examples for every input, one at least. Received: {lengths}.")
    rows = _rows(specs)
    real = {name: array[:rows] for name, array in arrays.items()}
    shorter = next((inputs for inputs in cut(real, specs) if computes(model, inputs, finite=True)), None)
    batches = (Batch("real", real), *([] if shorter is None else [Batch("real, cut", shorter)]))
    return _samples(path.name, batches, specs)


def generated_samples(model: keras.Model, specs: Mapping[str, tf.TensorSpec]) -> Samples:
    """Seeded values of several scales from the specifications of the inputs: for models that come without data.

    Floating-point inputs are drawn normal with three deviations, uniform in [0, 1], and as pixels of 0 to 255; integers
    below the smallest vocabulary of the model's embeddings; strings from a few words. Open dimensions have two sizes in
    turn.
    """
    floating = any(spec.dtype.is_floating for spec in specs.values())
    kinds: tuple[str, ...] = _KINDS if floating else ("generated integers",)
    # Of big inputs fewer: each costs a dozen explanations.
    kinds = kinds[: max(2, len(kinds) - 2 * (MAX_ROWS - _rows(specs)))]
    # There are several batches, so of half as many rows.
    draw = partial(_Drawing, specs, rows=max(2, _rows(specs) // 2), vocabulary=_vocabulary(model))
    taken = (size for size in range(1, 1 + len(FURTHER)) if computes(model, draw().batch(kinds[0], size).inputs))
    sizes = [0, *islice(taken, 1)] if are_open(specs) else [0]
    drawing = draw()
    turns = range(max(len(kinds), len(sizes)))
    batches = [drawing.batch(kinds[turn % len(kinds)], sizes[turn % len(sizes)]) for turn in turns]
    return _samples("generated", batches, specs)


def _samples(origin: str, batches: Sequence[Batch], specs: Mapping[str, tf.TensorSpec]) -> Samples:
    shapes = {tuple(values.shape[1:] for values in batch.inputs.values()) for batch in batches}
    one_size = are_open(specs) and len(shapes) == 1
    return Samples(f"{origin} (of one size)" if one_size else origin, tuple(batches))


# The likeliest first.
_KINDS = ("pixels 0 to 255", "normal 1", "uniform 0 to 1", "normal 0.1", "normal 10")


class _Drawing:
    """Draws batches of the inputs that `specs` describe, the same ones each time."""

    def __init__(self, specs: Mapping[str, tf.TensorSpec], *, rows: int, vocabulary: int) -> None:
        self._specs = specs
        self._rows = rows
        self._vocabulary = vocabulary
        self._generator = np.random.default_rng(_SEED)

    def batch(self, kind: str, size: int) -> Batch:
        """A batch of one kind, open dimensions of the size that `open_sizes` counts so."""
        inputs = {
            name: self._values(kind, spec.dtype, (self._rows, *example_shape(spec, size)))
            for name, spec in self._specs.items()
        }
        return Batch(f"{kind}, {FURTHER[size - 1]}" if size else kind, inputs)

    def _values(self, kind: str, dtype: tf.DType, shape: tuple[int, ...]) -> np.ndarray:
        generator, array_type = self._generator, dtype.as_numpy_dtype
        if dtype == tf.string:
            return generator.choice(np.array(["", "a", "word", "another word"], dtype=object), shape)
        if dtype == tf.bool:
            return generator.integers(0, 2, shape).astype(array_type)
        if dtype.is_integer:
            high = 256 if dtype == tf.uint8 else self._vocabulary
            return generator.integers(0, min(high, dtype.max + 1), shape).astype(array_type)
        if kind == "pixels 0 to 255":
            return generator.integers(0, 256, shape).astype(array_type)
        if kind == "uniform 0 to 1":
            return generator.random(shape).astype(array_type)
        return generator.normal(0.0, float(kind.removeprefix("normal ")), shape).astype(array_type)


def _rows(specs: Mapping[str, tf.TensorSpec]) -> int:
    example_bytes = sum(math.prod(example_shape(spec)) * (spec.dtype.size or 16) for spec in specs.values())
    return max(2, min(MAX_ROWS, _MAX_BATCH_BYTES // max(1, example_bytes)))


def _vocabulary(model: keras.Model) -> int:
    """The number of token ids that every embedding or encoding of the model knows."""
    sizes = []
    for layer in model._flatten_layers():  # noqa: SLF001 - Keras has no public walk through nested layers
        size = getattr(layer, "input_dim", None) or getattr(layer, "num_tokens", None)
        if isinstance(size, int):
            sizes.append(size)
    return min(sizes, default=_DEFAULT_VOCABULARY)


def _fitted(path: Path, name: str, array: np.ndarray, spec: tf.TensorSpec) -> np.ndarray:
    expected = tuple(spec.shape.as_list())
    if array.ndim != len(expected) or any(
        dim not in (None, size) for dim, size in zip(expected[1:], array.shape[1:], strict=True)
    ):
        raise SamplesError(
            f"{path}: array {name!r} must have the input's shape {expected}. Received: shape={array.shape}."
        )
    dtype = np.dtype(spec.dtype.as_numpy_dtype)
    if spec.dtype == tf.string:
        return array.astype(object)
    if not np.can_cast(array.dtype, dtype, casting="same_kind"):
        raise SamplesError(f"{path}: array {name!r} must be castable to {dtype}. Received: dtype={array.dtype}.")
    return array.astype(dtype)
