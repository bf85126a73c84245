"""Which tensors are known never to be negative: rules that look at signs do half of the work there."""

import tensorflow as tf

from explain.trace import Trace

_NON_NEGATIVE = frozenset({"Relu", "Relu6", "Sigmoid", "Softmax", "Softplus", "Exp", "Abs", "Square", "Sqrt", "Rsqrt"})
_KEEP_SIGN = frozenset(
    {
        "AvgPool", "AvgPool3D", "BatchToSpaceND", "ConcatV2", "ExpandDims", "Identity", "IdentityN", "Max", "MaxPool",
        "MaxPool3D", "Maximum", "Mean", "Min", "Minimum", "Pack", "Pad", "Reshape", "Slice", "SpaceToBatchND", "Split",
        "SplitV", "Squeeze", "StopGradient", "StridedSlice", "Sum", "Transpose", "Unpack", "Add", "AddV2", "AddN",
        "Mul",
    }
)  # fmt: skip
# Inputs of these that say how to move elements, not what to move.
_ARGUMENTS = {
    "ConcatV2": -1, "ExpandDims": 1, "Max": 1, "Mean": 1, "Min": 1, "Sum": 1, "Pad": 1, "Reshape": 1, "Slice": 1,
    "SpaceToBatchND": 1, "BatchToSpaceND": 1, "StridedSlice": 1, "Transpose": 1, "SplitV": 1,
}  # fmt: skip


def is_non_negative(tensor: tf.Tensor, trace: Trace) -> bool:
    """No element of the tensor can be negative, by the operations that it comes from."""
    pending, seen = [tensor], set()
    while pending:
        current = pending.pop()
        if id(current) in seen:
            continue
        seen.add(id(current))
        if not trace.is_signal(current):
            if not trace.is_constant(current) or (trace.value(current) < 0).any():
                return False
            continue
        op = current.op
        if op.type in _NON_NEGATIVE:
            continue
        if op.type not in _KEEP_SIGN or op.name not in trace.positions:
            return False
        pending.extend(_moved(op))
    return True


def _moved(op: tf.Operation) -> list[tf.Tensor]:
    inputs = list(op.inputs)
    if op.type == "Split":
        return inputs[1:]
    return inputs[: _ARGUMENTS[op.type]] if op.type in _ARGUMENTS else inputs
