"""Tf.Examples without TensorFlow: features to the tensors that a signature takes, refused in TensorFlow's words."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from google.protobuf.message import DecodeError

from serving.dtypes import name_dtype
from serving.errors import Code, ServingError, invalid_argument
from serving.protos.example_pb2 import Example, Feature
from serving.types import TensorInfo

# TensorFlow's names of what a feature can hold, by the field that holds it.
_KINDS = {"float_list": "float", "int64_list": "int64", "bytes_list": "string"}


def merge_context(context: bytes, examples: Sequence[bytes]) -> list[bytes]:
    """Examples with the features of a context added, all serialized.

    A message followed by another of its type is their merge, so the bytes are joined as TensorFlow Serving joins them.
    Where both have a feature, the example's counts.
    """
    return [context + example for example in examples]


def parse_examples(examples: Sequence[bytes], inputs: Mapping[str, TensorInfo]) -> dict[str, np.ndarray]:
    """Reads dense inputs from serialized tf.Examples: each from the feature of its own name.

    A float input takes a `float_list`, an integer or boolean one an `int64_list`, a string one a `bytes_list`, of
    exactly as many values as one row of the input has, in row-major order. One dimension beside the batch may be
    dynamic: its size is what the number of values gives, the same for all examples.

    Args:
        examples: Serialized, at least one.
        inputs: What the signature takes; the first dimension is the batch.

    Returns:
        An array for each input, of the number of examples in its first dimension.

    Raises:
        ServingError: INVALID_ARGUMENT, with the texts of TensorFlow's ParseExample; UNIMPLEMENTED where an input's
            dtype has no kind of feature.
    """
    columns = {name: _Column(name, info) for name, info in inputs.items()}
    for index, serialized in enumerate(examples):
        features = _parse(serialized).features.feature
        for name, column in columns.items():
            # Asking a map for a key that is missing would add it.
            column.add(index, features[name] if name in features else Feature())
    return {name: column.array() for name, column in columns.items()}


def _parse(serialized: bytes) -> Example:
    try:
        return Example.FromString(serialized)
    except DecodeError as error:
        shown = serialized[:64].decode(errors="replace")
        raise invalid_argument(f"Could not parse example input, value: '{shown}'") from error


@dataclass(frozen=True)
class _Kind:
    """Which field of a feature an input is read from, and its values as a flat array of the input's dtype."""

    field: str
    read: Callable[[Feature, str, np.dtype], np.ndarray]

    @property
    def name(self) -> str:
        return _KINDS[self.field]


class _Column:
    """One input, row by row."""

    def __init__(self, name: str, info: TensorInfo) -> None:
        self._name = name
        self._dtype = info.dtype
        self._kind = _kind(name, info.dtype)
        self._shape = _row_shape(name, info)
        self._declared = self._shape
        self._rows: list[np.ndarray] = []

    def add(self, index: int, feature: Feature) -> None:
        """Adds the row of one example; a feature of no kind is a missing one."""
        field = feature.WhichOneof("kind")
        if field is None:
            raise invalid_argument(
                f"Name: <unknown>, Feature: {self._name} (data type: {self._kind.name}) is required but could not be "
                "found."
            )
        where = f"Name: <unknown>, Key: {self._name}, Index: {index}. "
        if field != self._kind.field:
            raise invalid_argument(
                f"{where} Data types don't match. Data type: {_KINDS[field]} but expected type: {self._kind.name}"
            )
        values = self._kind.read(feature, where, self._dtype)
        self._fit(len(values), where)
        self._rows.append(values)

    def array(self) -> np.ndarray:
        """All rows, in the input's shape."""
        return np.concatenate(self._rows).reshape(len(self._rows), *[size or 0 for size in self._shape])

    def _fit(self, count: int, where: str) -> None:
        """Compares a number of values with the shape of a row, whose dynamic dimension the first row settles."""
        if None in self._shape:
            stride = math.prod(size for size in self._shape if size is not None)
            if stride == 0 or count % stride:
                raise invalid_argument(
                    f"{where} Number of {self._kind.name} values is not a multiple of stride length. Saw {count} "
                    f"values but output shape is: {_show(self._shape)}"
                )
            self._shape = tuple(count // stride if size is None else size for size in self._shape)
        if count != math.prod(size or 0 for size in self._shape):
            same = "" if self._shape == self._declared else " (that of the first example: all must have one size)"
            raise invalid_argument(
                f"{where} Number of {self._kind.name} values != expected.  Values size: {count} but output shape: "
                f"{_show(self._shape)}{same}"
            )


def _row_shape(name: str, info: TensorInfo) -> tuple[int | None, ...]:
    """The shape of one row; a dimension of unknown size is None, and a row of unknown rank is flat."""
    shape = (None, None) if info.shape is None else info.shape
    if not shape:
        raise invalid_argument(
            f"Input '{name}' is a scalar, without room for several examples. Ask Predict, with the value as a tensor."
        )
    if shape[1:].count(None) > 1:
        raise invalid_argument(
            f"Input '{name}' of shape {_show(shape)} has several dynamic dimensions: the number of a feature's values "
            "can't tell their sizes. Ask Predict, with the values as a tensor."
        )
    return shape[1:]


def _show(shape: Sequence[int | None]) -> str:
    return f"[{','.join('?' if size is None else str(size) for size in shape)}]"


def _kind(name: str, dtype: np.dtype) -> _Kind:
    if dtype.kind == "f":
        return _Kind("float_list", _read_floats)
    if dtype.kind in "iub":
        return _Kind("int64_list", _read_integers)
    if dtype.kind == "O":
        return _Kind("bytes_list", _read_bytes)
    raise ServingError(
        Code.UNIMPLEMENTED,
        f"Input '{name}' is of type {name_dtype(dtype)}, and features hold float, int64 or string only. Ask Predict.",
    )


def _read_floats(feature: Feature, _where: str, dtype: np.dtype) -> np.ndarray:
    with np.errstate(over="ignore"):  # beyond float16 is infinity
        return np.array(feature.float_list.value, np.float32).astype(dtype, copy=False)


def _read_integers(feature: Feature, where: str, dtype: np.dtype) -> np.ndarray:
    values = np.array(feature.int64_list.value, np.int64)
    low, high = (0, 1) if dtype.kind == "b" else (np.iinfo(dtype).min, np.iinfo(dtype).max)
    if values.size and (int(values.min()) < low or int(values.max()) > high):
        wrong = next(value for value in values.tolist() if not low <= value <= high)
        raise invalid_argument(f"{where} Values of {name_dtype(dtype)} must lie in [{low}, {high}]. Received: {wrong}.")
    return values.astype(dtype)


def _read_bytes(feature: Feature, _where: str, _dtype: np.dtype) -> np.ndarray:
    values = np.empty(len(feature.bytes_list.value), object)
    values[:] = list(feature.bytes_list.value)
    return values
