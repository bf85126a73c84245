"""Folds the constant operations that follow a linear operation into it: bias, scaling, batch normalisation.

Dense -> BiasAdd -> Mul -> Sub -> AddV2 is one affine map z = W x + b. Rules that look at the sign of a weight need the
folded W, and a bias that batch normalisation adds is absorbed once, by the layer, not twice.
"""

import numpy as np
import tensorflow as tf

from explain.linear_map import RESHAPES, AffineMap, LinearMap
from explain.operations.activation import within_activation
from explain.trace import Trace

_IDENTITIES = frozenset({"Identity", "StopGradient"})
_ARITHMETIC = frozenset({"BiasAdd", "Add", "AddV2", "Sub", "Mul", "RealDiv"})


def fold(linear: LinearMap, trace: Trace) -> AffineMap:
    """The linear operation with everything folded in that scales or shifts each of its output channels.

    Folding stops where another operation reads an intermediate result, for its relevance arrives there too.
    """
    node = AffineMap(linear, linear.kernel, None, linear.output, (linear.op,))
    while True:
        following = _fold_next(node, trace)
        if following is None:
            return node
        node = following


def _fold_next(node: AffineMap, trace: Trace) -> AffineMap | None:
    """The map with the one operation folded in that reads it, or None if it has to stay outside."""
    consumers = trace.consumers(node.output)
    if len(consumers) != 1 or any(node.output is output for output in trace.outputs.values()):
        return None
    op = consumers[0]
    if op.type in _IDENTITIES:
        return node.fold(op)
    if op.type in RESHAPES:
        channels = _channels(node, op.outputs[0]) if trace.signals(op) == [0] else None
        return None if channels is None else node.reshape(op, channels)
    return _fold_arithmetic(node, op, trace) if op.type in _ARITHMETIC else None


def _fold_arithmetic(node: AffineMap, op: tf.Operation, trace: Trace) -> AffineMap | None:
    """Folds z + k, z - k, k - z, z * k or z / k, for a constant k that is one number for each channel."""
    signals = trace.signals(op)
    if len(signals) != 1 or op.outputs[0].shape.rank != node.output.shape.rank:
        return None
    position = signals[0]
    other = op.inputs[1 - position]
    if not trace.is_constant(other) or (op.type == "RealDiv" and position == 1) or within_activation(op, trace):
        return None
    constant = _per_channel(trace.value(other), _channels(node, node.output))
    scales = op.type in {"Mul", "RealDiv"} or (op.type == "Sub" and position == 1)
    if constant is None or (scales and not node.linear.scalable):
        return None
    match op.type:
        case "Mul":
            return node.fold(op, scale=constant)
        case "RealDiv":
            return node.fold(op, scale=1 / constant)
        case "Sub" if position == 0:
            return node.fold(op, shift=-constant)
        case "Sub":
            return node.fold(op, scale=np.asarray(-1, constant.dtype), shift=constant)
        case _:
            return node.fold(op, shift=constant)


def _channels(node: AffineMap, tensor: tf.Tensor) -> tuple[int, ...] | None:
    """Sizes of a reshaped output's last axes that hold the channels; attention's heads are two axes of them.

    None where the channels aren't axes of their own.
    """
    count, shape = node.linear.output.shape[-1], tensor.shape
    if count is None or shape.rank is None:
        return None
    for length in range(1, shape.rank):
        sizes = shape[-length:]
        if sizes.is_fully_defined() and sizes.num_elements() == count:
            return tuple(sizes.as_list())
    return None


def _per_channel(constant: np.ndarray, channels: tuple[int, ...] | None) -> np.ndarray | None:
    """The constant as one number for each channel or one in all, or None if it differs along another axis."""
    if constant.size == 1:
        return constant.reshape(())
    if channels is None:
        return None
    squeezed = constant.reshape(constant.shape[next(i for i, size in enumerate(constant.shape) if size > 1) :])
    try:
        return np.broadcast_to(squeezed, channels)
    except ValueError:
        return None
