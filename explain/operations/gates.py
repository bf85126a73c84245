"""Which factors of a product take no relevance: gates, normalisers, masks, and the structure of a graph."""

from typing import TYPE_CHECKING

import tensorflow as tf

from explain.operations.activation import COMPARISONS, ELEMENTWISE

if TYPE_CHECKING:
    from explain.propagation import Walk

# Gates, normalisers and masks.
_TAKE_NOTHING = frozenset({"Sigmoid", "Rsqrt", "Sqrt", "Reciprocal", "Inv", "OneHot"}) | frozenset(COMPARISONS)
_MOVES = frozenset(
    {
        "Reshape",
        "Squeeze",
        "ExpandDims",
        "Transpose",
        "Identity",
        "IdentityN",
        "StopGradient",
        "Cast",
        "BroadcastTo",
        "Tile",
        "StridedSlice",
    }
)
_GATHERS = frozenset({"GatherV2", "GatherNd"})
SEGMENT_SUMS = frozenset({"SegmentSum", "UnsortedSegmentSum", "SegmentMean", "ScatterNd", "TensorScatterAdd"})
# Linear in what they read: a softmax that is written out divides by these.
SUMS = _MOVES | _GATHERS | {"SegmentSum", "UnsortedSegmentSum", "Sum", "Add", "AddV2"}
_QUOTIENTS = frozenset({"RealDiv", "DivNoNan"})


def takes_nothing(tensor: tf.Tensor, walk: "Walk") -> bool:
    """The factor is a gate or a normaliser: one is met on the way down, as long as the way doesn't fork."""
    scaled = False
    while True:
        op, signals = tensor.op, walk.trace.signals(tensor.op)
        if op.type in _TAKE_NOTHING or (op.type == "Softmax" and walk.attention == "gate"):
            return True
        if op.type == "Cast" and not op.inputs[0].dtype.is_floating:  # a mask, or a count
            return True
        if op.type == "Relu6" and scaled:  # a hard sigmoid, relu6(x + 3) / 6
            return True
        if op.type == "Pow" and _is_negative(op.inputs[1], walk):  # degree ** -0.5
            return True
        if op.type in SEGMENT_SUMS and not walk.trace.is_signal(op.inputs[1 if op.type == "ScatterNd" else 0]):
            return True  # a count: only where something is written depends on an input
        if op.type in _QUOTIENTS and len(signals) == 2:
            return walk.attention == "gate" and is_exponential(op.inputs[0])  # a softmax in parts
        if op.type == "Mul" and len(signals) == 2:
            return all(takes_nothing(factor, walk) for factor in op.inputs)
        if op.type in _GATHERS and 0 in signals:
            signals = [0]
        elif len(signals) != 1 or not (op.type in ELEMENTWISE or op.type in _MOVES):
            return False
        scaled = scaled or op.type in {"Mul", "RealDiv"}
        tensor = op.inputs[signals[0]]


def is_exponential(tensor: tf.Tensor) -> bool:
    """The tensor is exp(x), moved or not."""
    while tensor.op.type in _MOVES:
        tensor = tensor.op.inputs[0]
    return bool(tensor.op.type == "Exp")


def is_structure(tensor: tf.Tensor, op: tf.Operation, walk: "Walk") -> bool:
    """The factor of a product is a graph's adjacency or the weights of its edges, given as an input.

    It comes from an input of its own without a layer with weights between. An adjacency is the square matrix that
    another is multiplied with from the left; weights of edges scale the rows of what is then summed by segments. The
    other factor may have come through the same structure before, in a layer below.
    """
    if not _looks_like_structure(tensor, op, walk):
        return False
    others = [op.inputs[p] for p in walk.trace.signals(op) if op.inputs[p] is not tensor]
    return not walk.sources(tensor) & _signal_sources(others, walk)


def _looks_like_structure(tensor: tf.Tensor, op: tf.Operation, walk: "Walk") -> bool:
    """It has the form of structure, whatever input it comes from."""
    others = [op.inputs[p] for p in walk.trace.signals(op) if op.inputs[p] is not tensor]
    if not others or not walk.is_raw(tensor):
        return False
    if op.type == "SparseTensorDenseMatMul":
        return True
    if op.type == "Mul":
        return _one_for_a_row(tensor, others[0]) and _is_summed_by_segments(op, walk)
    square = tensor.shape.rank is not None and tensor.shape.rank >= 2 and tensor.shape[-1] == tensor.shape[-2]
    return bool(square and op.type.startswith(("MatMul", "BatchMatMul")) and op.inputs[0] is tensor)


def _signal_sources(tensors: list[tf.Tensor], walk: "Walk") -> frozenset[str]:
    """The inputs that tensors come from by other ways than as structure."""
    found: set[str] = set()
    pending, seen = list(tensors), set()
    while pending:
        current = pending.pop()
        if id(current) in seen or not walk.trace.is_signal(current):
            continue
        seen.add(id(current))
        op = current.op
        if op.name not in walk.trace.positions:
            found |= walk.sources(current)
        else:
            pending.extend(t for t in op.inputs if not _looks_like_structure(t, op, walk))
    return frozenset(found)


def _one_for_a_row(tensor: tf.Tensor, rows: tf.Tensor) -> bool:
    return bool(tensor.shape.rank == rows.shape.rank and tensor.shape[-1] == 1 and rows.shape[-1] != 1)


def _is_summed_by_segments(op: tf.Operation, walk: "Walk") -> bool:
    pending = [op]
    while pending:
        current = pending.pop()
        if current.type in SEGMENT_SUMS:
            return True
        if current is op or current.type in _MOVES:
            pending.extend(walk.trace.consumers(current.outputs[0]))
    return False


def _is_negative(exponent: tf.Tensor, walk: "Walk") -> bool:
    return walk.trace.is_constant(exponent) and bool((walk.trace.value(exponent) < 0).all())
