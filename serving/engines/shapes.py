"""Checks of shapes for engines whose own message wouldn't name the input, or that would broadcast in silence."""

from collections.abc import Mapping

import numpy as np

from serving.errors import invalid_argument
from serving.types import TensorInfo


def check_shapes(tensors: Mapping[str, TensorInfo], inputs: Mapping[str, np.ndarray]) -> None:
    """Compares every input with its declared shape, and the batch sizes with one another.

    Args:
        tensors: The declared inputs; a dimension of None takes any size, a shape of None any rank.
        inputs: An array for each.

    Raises:
        ServingError: INVALID_ARGUMENT, naming the input, the shape expected and the shape received.
    """
    batch: tuple[str, int] | None = None
    for name, tensor in tensors.items():
        expected, received = tensor.shape, inputs[name].shape
        if expected is None:
            continue
        if not _fits(expected, received):
            raise invalid_argument(
                f"Input {name!r} must have shape {describe_shape(expected)}. Received: {describe_shape(received)}."
            )
        if expected and expected[0] is None:
            if batch is not None and batch[1] != received[0]:
                raise invalid_argument(
                    "All inputs of a request must have the same batch size, their first dimension. "
                    f"Received: {batch[1]} in {batch[0]!r}, {received[0]} in {name!r}."
                )
            batch = (name, received[0])


def _fits(expected: tuple[int | None, ...], received: tuple[int, ...]) -> bool:
    if len(expected) != len(received):
        return False
    return all(size is None or size == actual for size, actual in zip(expected, received, strict=True))


def describe_shape(shape: tuple[int | None, ...]) -> str:
    """A shape for people: dynamic dimensions are `batch`, where it is the first, and `any`."""
    names = [str(size) if size is not None else "any" if axis else "batch" for axis, size in enumerate(shape)]
    return f"({', '.join(names)}{',' if len(names) == 1 else ''})"
