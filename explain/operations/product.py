"""Products of two signals: gates, normalisation and attention.

What a factor is follows from where it comes from:

* a *normaliser* (one over a norm or a standard deviation) is taken as a constant and gets nothing: relevance passes
  whole (AttnLRP, Achtibat et al. 2024, Prop. 3.4);
* a *gate* (a sigmoid, a softmax or what is built of it) gets nothing either: the signal takes all (Arras et al. 2017);
* two signals of equal standing share evenly (AttnLRP, Prop. 3.2).

With `attention="uniform"` a softmax is no gate, as AttnLRP has it; with `attention="gate"` it is, as in CP-LRP (Ali et
al. 2022).
"""

from typing import TYPE_CHECKING

import tensorflow as tf

from explain.operations.activation import COMPARISONS, ELEMENTWISE
from explain.operations.registry import register
from explain.relevance import Relevance, quotient, stabilizer, widen
from explain.rules import NORM_EPSILON

if TYPE_CHECKING:
    from explain.propagation import Walk

# Gates, normalisers and masks.
_TAKE_NOTHING = frozenset({"Sigmoid", "Rsqrt", "Sqrt", "Reciprocal", "Inv"}) | frozenset(COMPARISONS)
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
    }
)


def multiply_signals(op: tf.Operation, relevance: Relevance, walk: "Walk") -> None:
    """y = a * b of two signals."""
    gets = [not _takes_nothing(tensor, walk) for tensor in op.inputs]
    if gets[0] == gets[1]:  # both signals, or both gates
        half = relevance.value() / 2
        for tensor in op.inputs:
            walk.send(tensor, Relevance(tensor, relevance=walk.reduce_to(half, tensor)))
        return
    position = gets.index(True)
    signal, factor = op.inputs[position], op.inputs[1 - position]
    if relevance.gradient is not None:
        g = relevance.gradient * widen(factor)
        walk.send(signal, Relevance(signal, gradient=walk.reduce_to(g, signal)))
    else:
        walk.send(signal, Relevance(signal, relevance=walk.reduce_to(relevance.value(), signal)))


def divide_signals(op: tf.Operation, relevance: Relevance, walk: "Walk") -> None:
    """y = a / d of two signals: the divisor is a normaliser."""
    signal, divisor = op.inputs
    if relevance.gradient is not None:
        g = relevance.gradient / widen(divisor)
        walk.send(signal, Relevance(signal, gradient=walk.reduce_to(g, signal)))
    else:
        walk.send(signal, Relevance(signal, relevance=walk.reduce_to(relevance.value(), signal)))


def _takes_nothing(tensor: tf.Tensor, walk: "Walk") -> bool:
    """The factor is a gate or a normaliser: one is met on the way down, as long as the way doesn't fork."""
    scaled = False
    while True:
        op = tensor.op
        if op.type in _TAKE_NOTHING or (op.type == "Softmax" and walk.attention == "gate"):
            return True
        if op.type == "Cast" and not op.inputs[0].dtype.is_floating:  # a mask, or a count
            return True
        if op.type == "Relu6" and scaled:  # a hard sigmoid, relu6(x + 3) / 6
            return True
        signals = walk.trace.signals(op)
        if len(signals) != 1 or not (op.type in ELEMENTWISE or op.type in _MOVES):
            return False
        scaled = scaled or op.type in {"Mul", "RealDiv"}
        tensor = op.inputs[signals[0]]


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


def takers(op: tf.Operation, walk: "Walk") -> list[int]:
    """Positions of the factors that take relevance: the signals that are no gates, or all of them if each is one."""
    signals = walk.trace.signals(op)
    return [p for p in signals if not _takes_nothing(op.inputs[p], walk)] or signals


def share_product(op: tf.Operation, relevance: Relevance, count: int, walk: "Walk") -> tf.Tensor:
    """c / n with c = R / (Y + epsilon s(Y)), for a product that n factors take relevance of."""
    y = widen(op.outputs[0])
    c = quotient(relevance, y, NORM_EPSILON)
    walk.absorb(op, stabilizer=c * stabilizer(y, NORM_EPSILON))
    return c if count == 1 else c / count


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
    the softmax is a gate, nothing reaches it.
    """
    relevance = relevances[0]
    if relevance is None:
        return
    x, s, r = widen(op.inputs[0]), widen(op.outputs[0]), relevance.value()
    if op.type == "LogSoftmax":
        s = tf.exp(s)
    inner = r - s * tf.reduce_sum(r, axis=-1, keepdims=True)
    passed = tf.where(s > 0, x, tf.zeros_like(x)) * inner
    walk.send(op.inputs[0], Relevance(op.inputs[0], relevance=passed))
