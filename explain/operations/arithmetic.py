"""Sums, differences, products and quotients: with a constant, of two signals, and as parts of an activation.

* A constant factor takes no relevance: R_x = R_y (in the gradient form g_x = s g_y).
* A constant summand is a bias: R_x = x / (y + epsilon s(y)) R_y and it absorbs the rest, unless the bias mode is
  another. Before the first layer with weights (scaling of pixels, normalisation of columns) such operations only change
  the input's units, and relevance passes whole.
* A sum of signals shares by the z-rule: R_a = a / (y + epsilon s(y)) R_y, zennit's `Norm` (Bach et al. 2015, eq. 56).
* The larger of two signals takes all, as in max pooling; equal ones share equally.
* If all arguments are element-wise functions of one tensor, the operation is a part of an activation: R_in = R_out.
"""

from typing import TYPE_CHECKING

import tensorflow as tf

from explain.operations.activation import nearest_root, within_activation
from explain.operations.product import divide, divide_signals, multiply_signals
from explain.operations.registry import register
from explain.relevance import Relevance, quotient, stabilizer, widen
from explain.rules import NORM_EPSILON

if TYPE_CHECKING:
    from explain.propagation import Walk


@register("Add", "AddV2", "AddN", "BiasAdd", "Sub")
def add(op: tf.Operation, relevances: list[Relevance | None], walk: "Walk") -> None:
    """A sum or difference."""
    relevance = relevances[0]
    if relevance is None:
        return
    signals = walk.trace.signals(op)
    root = nearest_root(op, walk.trace) if len(signals) > 1 else None
    if root is not None:
        walk.send(root, Relevance(root, relevance=relevance.value()))
    elif len(signals) == 1 and _passes_whole(op, walk):
        signal = op.inputs[signals[0]]
        walk.send(signal, Relevance(signal, relevance=walk.reduce_to(relevance.value(), signal)))
    else:
        _share(op, signals, relevance, walk)


def _passes_whole(op: tf.Operation, walk: "Walk") -> bool:
    """The summand is no bias that absorbs."""
    return walk.bias != "absorb" or walk.is_preprocessing(op.outputs[0]) or within_activation(op, walk.trace)


def _share(op: tf.Operation, signals: list[int], relevance: Relevance, walk: "Walk") -> None:
    """R_a = a c with c = R / (y + epsilon s(y)); what isn't a signal is a bias and absorbs b c."""
    y = widen(op.outputs[0] if relevance.rectified is None else relevance.rectified)
    non_negative = relevance.rectified is not None
    c = quotient(relevance, y, NORM_EPSILON, non_negative=non_negative)
    for position in signals:
        signal = op.inputs[position]
        sign = -1 if op.type == "Sub" and position == 1 else 1
        walk.send(signal, Relevance(signal, gradient=walk.reduce_to(sign * c, signal)))
    if walk.audits:
        constants = [p for p in range(len(op.inputs)) if p not in signals]
        bias = tf.add_n([tf.zeros_like(c), *(c * _signed(op, p) for p in constants)])
        walk.absorb(op, bias=bias, stabilizer=c * stabilizer(y, NORM_EPSILON, non_negative=non_negative))


def _signed(op: tf.Operation, position: int) -> tf.Tensor:
    value = widen(op.inputs[position])
    return -value if op.type == "Sub" and position == 1 else value


@register("Mul", "RealDiv", "DivNoNan")
def multiply(op: tf.Operation, relevances: list[Relevance | None], walk: "Walk") -> None:
    """A product or quotient: by a constant, within an activation, or of two signals (`explain.operations.product`)."""
    relevance = relevances[0]
    if relevance is None:
        return
    signals = walk.trace.signals(op)
    if len(signals) == 1 and not (op.type != "Mul" and signals == [1]):
        signal, other = op.inputs[signals[0]], widen(op.inputs[1 - signals[0]])
        if relevance.gradient is not None:
            g = relevance.gradient * other if op.type == "Mul" else divide(op, relevance.gradient, other)
            walk.send(signal, Relevance(signal, gradient=walk.reduce_to(g, signal)))
        else:
            walk.send(signal, Relevance(signal, relevance=walk.reduce_to(relevance.value(), signal)))
        return
    root = nearest_root(op, walk.trace)
    if root is not None:
        walk.send(root, Relevance(root, relevance=relevance.value()))
    elif op.type == "Mul":
        multiply_signals(op, relevance, walk)
    else:
        divide_signals(op, relevance, walk)


@register("Neg")
def negate(op: tf.Operation, relevances: list[Relevance | None], walk: "Walk") -> None:
    """y = -x: a product with the constant -1."""
    relevance = relevances[0]
    if relevance is None:
        return
    if relevance.gradient is not None:
        walk.send(op.inputs[0], Relevance(op.inputs[0], gradient=-relevance.gradient))
    else:
        walk.send(op.inputs[0], Relevance(op.inputs[0], relevance=relevance.value()))


@register("Maximum", "Minimum")
def extremum(op: tf.Operation, relevances: list[Relevance | None], walk: "Walk") -> None:
    """The larger (smaller) of two: the winner takes all, equal signals share equally; with a constant an activation."""
    relevance = relevances[0]
    if relevance is None:
        return
    signals = walk.trace.signals(op)
    if len(signals) == 1 or (root := nearest_root(op, walk.trace)) is not None:
        target = op.inputs[signals[0]] if len(signals) == 1 else root
        walk.send(target, Relevance(target, relevance=walk.reduce_to(relevance.value(), target)))
        return
    first, second = (widen(tensor) for tensor in op.inputs)
    r = relevance.value()
    wins = first > second if op.type == "Maximum" else first < second
    share = tf.where(first == second, tf.constant(0.5, r.dtype), tf.cast(wins, r.dtype))
    for tensor, part in zip(op.inputs, (share, 1 - share), strict=True):
        walk.send(tensor, Relevance(tensor, relevance=walk.reduce_to(r * part, tensor)))
