"""Sizes for the dimensions that a model leaves open: at least two, one of them odd, wherever the model takes them.

What is right at one size may be wrong at another: the padding of a strided convolution depends on what the stride
leaves over, and even sizes leave nothing. Some models take no odd size, as those that halve it and double it again.
"""

from collections.abc import Iterator, Mapping

import numpy as np
import tensorflow as tf

# For the open dimensions of one input, by their number (a sequence, an image, a volume): a size that pooling and
# striding leave something of, an odd one, and one for models that take only multiples.
_SIZES = {1: (12, 13, 24), 2: (32, 37, 64), 3: (8, 11, 16)}
_OTHER_SIZES = (4, 5, 8)
# What the sizes are called after the first, in the order of preference.
FURTHER = ("odd size", "doubled size")


def are_open(specs: Mapping[str, tf.TensorSpec]) -> bool:
    """The model leaves a dimension open besides that of the batch."""
    return any(None in spec.shape.as_list()[1:] for spec in specs.values())


def example_shape(spec: tf.TensorSpec, choice: int = 0) -> tuple[int, ...]:
    """The shape of one example.

    Args:
        spec: Of the input, batch first.
        choice: Which size its open dimensions get: 0 is the first, the others are those that `FURTHER` names.
    """
    dims = spec.shape.as_list()[1:]
    size = _SIZES.get(sum(dim is None for dim in dims), _OTHER_SIZES)[choice]
    return tuple(size if dim is None else dim for dim in dims)


def cut(inputs: Mapping[str, np.ndarray], specs: Mapping[str, tf.TensorSpec]) -> Iterator[dict[str, np.ndarray]]:
    """The same examples with less of every open dimension: without the last element, then the first half.

    Equal sizes stay equal, so that inputs which share a dimension still fit. One of a size and the next lower is odd.
    """
    if not are_open(specs):
        return
    for shorter in (lambda size: size - 1, lambda size: size // 2):
        kept = {
            name: [
                shorter(size) if dim is None else size for dim, size in zip(spec.shape, inputs[name].shape, strict=True)
            ][1:]
            for name, spec in specs.items()
        }
        if all(min(sizes, default=1) > 0 for sizes in kept.values()):
            yield {name: values[(slice(None), *map(slice, kept[name]))] for name, values in inputs.items()}
