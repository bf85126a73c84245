"""What of an output is explained: the scores that its probabilities come from, where it holds probabilities.

A final softmax or sigmoid is stepped over, for what explains a probability is the score below it. What comes out of it
may be arranged once more: a softmax along another axis is computed on a transposed tensor, and the probabilities of
several heads may be concatenated. Their scores are then arranged alike.
"""

from collections.abc import Iterator
from typing import NoReturn

import tensorflow as tf

from explain.constants import run_operation
from explain.errors import OutputError
from explain.trace import Trace

_PROBABILITIES = frozenset({"Softmax", "Sigmoid", "LogSoftmax"})
# Softmax mixes all scores; with something else after it there is no single score to explain instead.
_MIXING = frozenset({"Softmax", "LogSoftmax"})
_SAME = frozenset({"Identity", "Cast", "EnsureShape", "StopGradient"})
_JOINING = frozenset({"Pack", "ConcatV2"})
_ARRANGING = _JOINING | frozenset({"Reshape", "Squeeze", "ExpandDims", "Transpose"})
_AFTERTHOUGHTS = (
    _SAME
    | _ARRANGING
    | frozenset({"Mul", "RealDiv", "Add", "AddV2", "Sub", "Neg", "Log", "Log1p", "Exp", "Pow", "Square", "Sqrt"})
    | frozenset({"Maximum", "Minimum", "StridedSlice", "Slice", "GatherV2", "Round"})
)


def explained_tensor(output: tf.Tensor, trace: Trace) -> tf.Tensor:
    """The scores that an output's probabilities come from, or the output itself where it holds none.

    Args:
        output: One of the model's outputs.
        trace: The forward pass. Operations that arrange the scores as the output arranges probabilities are added.

    Returns:
        A tensor of as many values an example as the output, in the same order.

    Raises:
        OutputError: The output isn't a float tensor that depends on an input, or it is computed from probabilities,
            which can be stepped over only where they come last.
    """
    if not trace.is_signal(output) or not output.dtype.is_floating or output.shape.rank in {None, 0}:
        raise OutputError(
            f"Expected an output of floating numbers, batch first, that depends on an input. Received: "
            f"{output.dtype.name} of shape {output.shape} from layer '{trace.layer(output.op)}'."
        )
    scores = _scores(output, trace)
    explained = output if scores is None else scores
    for op in _below(explained, trace):
        if op.type in _MIXING:
            _refuse(output, op, trace)
    return explained


def _scores(tensor: tf.Tensor, trace: Trace) -> tf.Tensor | None:
    """The scores below probabilities, arranged alike; None where there are no probabilities."""
    op = tensor.op
    if op.name not in trace.positions or op.name in trace.recurrent:
        return None
    if op.type in _PROBABILITIES:
        return op.inputs[0]
    if op.type in _SAME:
        return _scores(op.inputs[0], trace)
    if op.type in _ARRANGING:
        return _arranged(op, trace)
    if op.type == "Sub" and trace.signals(op) == [1] and _scores(op.inputs[1], trace) is not None:
        _refuse(tensor, next(_probabilities(op.inputs[1], trace)), trace)  # one minus a probability
    return None


def _arranged(op: tf.Operation, trace: Trace) -> tf.Tensor | None:
    """What the operation makes of the scores; None where it arranges no probabilities."""
    count = len(op.inputs) if op.type == "Pack" else len(op.inputs) - 1 if op.type == "ConcatV2" else 1
    found = [_scores(tensor, trace) for tensor in op.inputs[:count]]
    if all(scores is None for scores in found):
        return None
    if any(scores is None for scores in found):  # beside something else
        _refuse(op.outputs[0], next(_probabilities(op.outputs[0], trace)), trace)
    return trace.add(run_operation(op, [*found, *op.inputs[count:]])[0], like=op)


def _probabilities(tensor: tf.Tensor, trace: Trace) -> Iterator[tf.Operation]:
    return (op for op in _below(tensor, trace) if op.type in _PROBABILITIES)


def _below(tensor: tf.Tensor, trace: Trace) -> Iterator[tf.Operation]:
    """The nearest operations below what is done to numbers one by one, and those in between."""
    op = tensor.op
    if op.name not in trace.positions or op.name in trace.recurrent:
        return
    yield op
    signals = trace.signals(op)
    if op.type in _AFTERTHOUGHTS and (len(signals) == 1 or op.type in _JOINING):
        for position in signals:
            yield from _below(op.inputs[position], trace)


def _refuse(output: tf.Tensor, source: tf.Operation, trace: Trace) -> NoReturn:
    kind = "softmax" if source.type in _MIXING else "sigmoid"
    raise OutputError(
        f"Expected a final {kind} to come last, where it is stepped over. Received: an output of layer "
        f"'{trace.layer(output.op)}' that operation '{output.op.type}' computes from the {source.type} of layer "
        f"'{trace.layer(source)}'. Let the model return the probabilities, or the scores below them."
    )
