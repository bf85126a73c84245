"""Products of two signals: gates, normalisation and attention.

What a factor is follows from where it comes from:

* a *normaliser* (one over a norm or a standard deviation) is taken as a constant and gets nothing: relevance passes
  whole (AttnLRP, Achtibat et al. 2024, Prop. 3.4);
* a *gate* (a sigmoid, a softmax or what is built of it) gets nothing either: the signal takes all (Arras et al. 2017);
* the *structure* of a graph (its adjacency, the weights of its edges, given as an input) is a gate as well, unless the
  composite says `structure = "share"`;
* two signals of equal standing share evenly (AttnLRP, Prop. 3.2).

With `attention="uniform"` a softmax is no gate, as AttnLRP has it; with `attention="gate"` it is, as in CP-LRP (Ali et
al. 2022).
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import tensorflow as tf

from explain.constants import run_operation
from explain.operations.gates import SUMS, is_exponential, is_structure, takes_nothing
from explain.operations.registry import register
from explain.relevance import Relevance, quotient, stabilizer, widen
from explain.trace import Trace

if TYPE_CHECKING:
    from explain.propagation import Walk

_SUMS = frozenset({"Add", "AddV2", "AddN", "BiasAdd", "Sub"})


def multiply_signals(op: tf.Operation, relevance: Relevance, walk: "Walk") -> None:
    """y = a * b of two signals."""
    positions = takers(op, walk)
    if len(positions) == 2:  # both signals, or both gates
        half = relevance.value() / 2
        for tensor in op.inputs:
            walk.send(tensor, Relevance(tensor, relevance=walk.reduce_to(half, tensor)))
        return
    (position,) = positions
    signal, factor = op.inputs[position], op.inputs[1 - position]
    if relevance.gradient is not None:
        g = relevance.gradient * widen(factor)
        walk.send(signal, Relevance(signal, gradient=walk.reduce_to(g, signal)))
    else:
        walk.send(signal, Relevance(signal, relevance=walk.reduce_to(relevance.value(), signal)))


def divide(op: tf.Operation, numerator: tf.Tensor, divisor: tf.Tensor) -> tf.Tensor:
    """The quotient as the operation computes it: `DivNoNan` gives zero where the divisor is."""
    return tf.math.divide_no_nan(numerator, divisor) if op.type == "DivNoNan" else numerator / divisor


def divide_signals(op: tf.Operation, relevance: Relevance, walk: "Walk") -> None:
    """y = a / d of two signals: the divisor is a normaliser. A softmax written out is one (see `softmax`)."""
    signal, divisor = op.inputs
    if walk.attention == "uniform" and is_exponential(signal) and divides_by_own_sum(op, walk.trace):
        softmax_in_parts(op, relevance, walk)
    elif relevance.gradient is not None:
        g = divide(op, relevance.gradient, widen(divisor))
        walk.send(signal, Relevance(signal, gradient=walk.reduce_to(g, signal)))
    else:
        walk.send(signal, Relevance(signal, relevance=walk.reduce_to(relevance.value(), signal)))


@register("MatMul", "BatchMatMulV2", "BatchMatMulV3")
def matmul_signals(op: tf.Operation, relevances: list[Relevance | None], walk: "Walk") -> None:
    """Y = A B of two signals: R_A = A * (c B^T) / n, R_B = B * (A^T c) / n with c = R / (Y + epsilon s(Y)).

    n = 2 where both take relevance (AttnLRP, Prop. 3.3), 1 where one of them is a gate. A product with a constant from
    the left is linear in the other factor and takes the same form.
    """
    relevance = relevances[0]
    if relevance is None:
        return
    a, b = (widen(tensor) for tensor in op.inputs)
    names = ("transpose_a", "transpose_b") if op.type == "MatMul" else ("adj_x", "adj_y")
    transposed = [op.get_attr(name) for name in names]
    positions = takers(op, walk)
    share = share_product(op, relevance, len(positions), walk)
    for position in positions:
        g = _left(share, b, *transposed) if position == 0 else _right(share, a, *transposed)
        walk.send(op.inputs[position], Relevance(op.inputs[position], gradient=walk.reduce_to(g, op.inputs[position])))


def takers(op: tf.Operation, walk: "Walk", positions: Sequence[int] = (0, 1)) -> list[int]:
    """Which factors take relevance: the signals that are no gates, or all of them if each is one.

    Args:
        op: The product.
        walk: The pass.
        positions: Its factors among the operation's inputs.
    """
    signals = [p for p in walk.trace.signals(op) if p in positions]
    getting = [p for p in signals if not takes_nothing(op.inputs[p], walk)]
    if len(getting) > 1 and walk.structure == "gate":
        getting = [p for p in getting if not is_structure(op.inputs[p], op, walk)]
    return getting or signals


def share_product(op: tf.Operation, relevance: Relevance, count: int, walk: "Walk") -> tf.Tensor:
    """c / n with c = R / (Y + epsilon s(Y)), for a product that n factors take relevance of."""
    y = widen(op.outputs[0])
    share = quotient(relevance, y, walk.norm_epsilon, count=count)
    walk.absorb(op, stabilizer=share * count * stabilizer(y, walk.norm_epsilon))
    return share


def _left(c: tf.Tensor, b: tf.Tensor, transposed_a: bool, transposed_b: bool) -> tf.Tensor:
    if transposed_a:
        return tf.matmul(b, c, transpose_a=transposed_b, transpose_b=True)
    return tf.matmul(c, b, transpose_b=not transposed_b)


def _right(c: tf.Tensor, a: tf.Tensor, transposed_a: bool, transposed_b: bool) -> tf.Tensor:
    if transposed_b:
        return tf.matmul(c, a, transpose_a=True, transpose_b=transposed_a)
    return tf.matmul(a, c, transpose_a=not transposed_a)


@register("Softmax", "LogSoftmax")
def softmax(op: tf.Operation, relevances: list[Relevance | None], walk: "Walk") -> None:
    """A softmax within the model, s of scores x: R_x = x (R_s - s sum R_s) (AttnLRP, Prop. 3.1).

    From the scores as they are: the rule changes with a constant added to them. Masked scores hold no relevance. Where
    the softmax is a gate, nothing reaches it. It is s linearised, J x + b with b = s (1 - x + sum s x), and b absorbs
    its part, R_s (1 - x + sum s x), as a bias does.
    """
    relevance = relevances[0]
    if relevance is None:
        return
    x, s, r = op.inputs[0], widen(op.outputs[0]), relevance.value()
    if op.type == "LogSoftmax":
        s = tf.exp(s)
    inner = r - s * tf.reduce_sum(r, axis=-1, keepdims=True)
    held = tf.where(s > 0, widen(x), tf.zeros_like(inner))  # a mask may have been added that is -inf
    walk.absorb(op, bias=r * (1 - held + tf.reduce_sum(s * held, axis=-1, keepdims=True)))
    if x.op.type in _SUMS:
        walk.send(x, Relevance(x, relevance=held * inner))
    else:
        walk.send(x, Relevance(x, gradient=inner))


def divides_by_own_sum(op: tf.Operation, trace: Trace) -> bool:
    """The divisor is linear in the dividend: sums of it, moved or gathered, maybe with a stabiliser."""
    exponential, pending = op.inputs[0], [op.inputs[1]]
    while pending:
        tensor = pending.pop()
        if tensor is exponential or not trace.is_signal(tensor) or not tensor.dtype.is_floating:
            continue
        if tensor.op.type not in SUMS:
            return False
        pending.extend(tensor.op.inputs)
    return True


def softmax_in_parts(op: tf.Operation, relevance: Relevance, walk: "Walk") -> None:
    """s = exp(x) / sum exp(x), written out as graph attention writes it: R_x = x (R_s - s sum R_s), as for `Softmax`.

    The sum over those that share a divisor is the divisor's own, computed again from R in the place of exp(x).
    """
    exponential = op.inputs[0]
    source = exponential
    while source.op.type != "Exp":
        source = source.op.inputs[0]
    scores = _before_shift(source.op.inputs[0], walk.trace)
    s, r = widen(op.outputs[0]), relevance.value()

    def summed(values: tf.Tensor) -> tf.Tensor:
        return widen(_summed(op.inputs[1], exponential, tf.cast(values, exponential.dtype), walk.trace))

    x = tf.where(s > 0, tf.reshape(widen(scores), tf.shape(s)), tf.zeros_like(s))
    walk.absorb(op, bias=r * (1 - x + summed(s * x)))
    passed = tf.reshape(x * (r - s * summed(r)), tf.shape(scores))
    walk.send(scores, Relevance(scores, relevance=passed))


def _before_shift(tensor: tf.Tensor, trace: Trace) -> tf.Tensor:
    """The scores as they are: their largest is taken off so that nothing overflows, and it cancels."""
    if tensor.op.type == "Sub" and trace.signals(tensor.op) == [0, 1]:
        return tensor.op.inputs[0]
    return tensor


def _summed(tensor: tf.Tensor, exponential: tf.Tensor, values: tf.Tensor, trace: Trace) -> tf.Tensor:
    """The tensor computed again, with other values in the place of one that it is linear in; what is constant drops."""
    if tensor is exponential:
        return values
    if not trace.is_signal(tensor):
        return tf.zeros_like(tensor) if tensor.dtype.is_floating else tensor
    if not tensor.dtype.is_floating:
        return tensor
    return run_operation(tensor.op, [_summed(t, exponential, values, trace) for t in tensor.op.inputs])[0]
