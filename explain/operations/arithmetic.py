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
from explain.relevance import Relevance, quotient, scaled, stabilizer, widen
from explain.trace import Trace

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
        _share(op, relevance, walk)


def _passes_whole(op: tf.Operation, walk: "Walk") -> bool:
    """The summand is no bias that absorbs."""
    return walk.bias != "absorb" or walk.is_preprocessing(op.outputs[0]) or within_activation(op, walk.trace)


def _share(op: tf.Operation, relevance: Relevance, walk: "Walk") -> None:
    """R_a = a c with c = R / (y + epsilon s(y)); what isn't a signal is a bias and absorbs b c."""
    y = widen(op.outputs[0] if relevance.rectified is None else relevance.rectified)
    non_negative = relevance.rectified is not None
    c = quotient(relevance, y, walk.norm_epsilon, non_negative=non_negative)
    terms = [term for position in range(len(op.inputs)) for term in _terms(op, position, walk)]
    for tensor, negative in terms:
        if walk.trace.is_signal(tensor):
            g = walk.reduce_to(-c if negative else c, tensor)
            walk.send(tensor, Relevance(tensor, gradient=g))
    if walk.audits:
        constants = [-widen(t) if negative else widen(t) for t, negative in terms if not walk.trace.is_signal(t)]
        bias = tf.add_n([tf.zeros_like(c), *(c * value for value in constants)])
        walk.absorb(op, bias=bias, stabilizer=c * stabilizer(y, walk.norm_epsilon, non_negative=non_negative))


def _terms(op: tf.Operation, position: int, walk: "Walk") -> list[tuple[tf.Tensor, bool]]:
    """What a sum has at this position, and whether it is subtracted.

    A signal with a bias, which the same layer computes for this sum only, is two terms of it: layer normalisation adds
    `x * inv` and `beta - mean * inv`, and beta absorbs once.
    """
    tensor, negative = op.inputs[position], op.type == "Sub" and position == 1
    inner, trace = tensor.op, walk.trace
    is_shifted = (
        inner.type in {"Add", "AddV2", "Sub"}
        and len(trace.signals(op)) > 1
        and len(trace.signals(inner)) == 1
        and trace.consumers(tensor) == [op]
        and trace.layer(inner) == trace.layer(op)
        and inner.name not in walk.maps
        and not _passes_whole(inner, walk)
    )
    if not is_shifted:
        return [(tensor, negative)]
    return [(t, negative != (inner.type == "Sub" and p == 1)) for p, t in enumerate(inner.inputs)]


@register("Mul", "RealDiv", "DivNoNan")
def multiply(op: tf.Operation, relevances: list[Relevance | None], walk: "Walk") -> None:
    """A product or quotient: by a constant, within an activation, or of two signals (`explain.operations.product`)."""
    relevance = relevances[0]
    if relevance is None:
        return
    signals = walk.trace.signals(op)
    if len(signals) == 1 and not (op.type != "Mul" and signals == [1]):
        signal, other = op.inputs[signals[0]], widen(op.inputs[1 - signals[0]])
        factor = _number(op, signals[0], walk)
        if relevance.gradient is not None and factor:
            walk.send(signal, scaled(op.outputs[0], relevance.gradient, signal, factor))
        elif relevance.gradient is not None:
            g = relevance.gradient * other if op.type == "Mul" else divide(op, relevance.gradient, other)
            walk.send(signal, Relevance(signal, gradient=walk.reduce_to(g, signal)))
        else:
            walk.send(signal, Relevance(signal, relevance=walk.reduce_to(relevance.value(), signal)))
        return
    root = nearest_root(op, walk.trace)
    if root is not None:
        _pass_whole(op, root, relevance, walk)
    elif op.type == "Mul":
        multiply_signals(op, relevance, walk)
    else:
        divide_signals(op, relevance, walk)


def _number(op: tf.Operation, position: int, walk: "Walk") -> float | None:
    """What the signal is multiplied with, where that is one number that adds no axes."""
    other = op.inputs[1 - position]
    adds_axes = op.outputs[0].shape.rank != op.inputs[position].shape.rank
    if adds_axes or not walk.trace.is_constant(other) or other.shape.num_elements() != 1:
        return None
    number = float(walk.trace.value(other).reshape(()))
    if op.type == "Mul":
        return number
    return 1 / number if number else None


def _pass_whole(op: tf.Operation, root: tf.Tensor, relevance: Relevance, walk: "Walk") -> None:
    """The identity rule; y = x f(x), as GELU and SiLU are, keeps the gradient form: R_x = R_y = y g = x (f(x) g)."""
    factors = [p for p, factor in enumerate(op.inputs) if op.type == "Mul" and _is_multiple(factor, root, walk.trace)]
    if relevance.gradient is None or not factors:
        walk.send(root, Relevance(root, relevance=relevance.value()))
        return
    factor, other = op.inputs[factors[0]], op.inputs[1 - factors[0]]
    walk.send(factor, Relevance(factor, gradient=relevance.gradient * widen(other)))


def _is_multiple(tensor: tf.Tensor, root: tf.Tensor, trace: Trace) -> bool:
    """The tensor is the root, or the root times constants."""
    while tensor is not root:
        signals = trace.signals(tensor.op)
        scales = tensor.op.type in {"Neg", "Identity", "RealDiv"} and signals == [0]
        if not scales and not (tensor.op.type == "Mul" and len(signals) == 1):
            return False
        tensor = tensor.op.inputs[signals[0]]
    return True


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
