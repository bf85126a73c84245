"""Graph networks: sums over the edges that meet in a node, and writing to given positions.

A message-passing layer gathers what lies at an edge's ends (`explain.operations.embedding`), computes a message from it
and adds the messages up where they arrive. That sum shares by the z-rule, as all sums do: with z_n = sum_(e -> n) m_e,
R_e = m_e / (z_n + epsilon s(z_n)) R_n (Schnake et al. 2021, arXiv:2006.03589, for epsilon = 0). Of a maximum the
winner takes all. Positions say where something is and hold no relevance.
"""

from typing import TYPE_CHECKING

import tensorflow as tf

from explain.operations.pooling import TIE_TOLERANCE
from explain.operations.registry import register
from explain.operations.shape import route
from explain.relevance import Relevance, quotient, stabilizer, widen

if TYPE_CHECKING:
    from explain.propagation import Walk


def scatter_sum(values: tf.Tensor, positions: tf.Tensor, size: tf.Tensor | int) -> tf.Tensor:
    """Sums of the rows of `values` that share a position.

    Args:
        values: `(rows, ...)`.
        positions: Integers `(rows,)`, each in [0, size).
        size: Number of rows of the result.

    Returns:
        `(size, ...)`, zeros where nothing was written.
    """
    zeros = tf.zeros(tf.concat([[size], tf.shape(values)[1:]], axis=0), values.dtype)
    zeros = tf.ensure_shape(zeros, [size if isinstance(size, int) else None, *values.shape[1:]])
    return tf.tensor_scatter_nd_add(zeros, positions[:, tf.newaxis], values)


def _at(values: tf.Tensor, ids: tf.Tensor) -> tf.Tensor:
    """What lies at each row's segment; zeros for rows of a negative segment, which belong to none."""
    taken = tf.gather(values, tf.maximum(ids, 0))
    belongs = tf.reshape(ids >= 0, tf.concat([tf.shape(ids), tf.ones([values.shape.rank - 1], tf.int32)], axis=0))
    return taken * tf.cast(belongs, taken.dtype)


@register("SegmentSum", "UnsortedSegmentSum", "SegmentMean")
def segment_sum(op: tf.Operation, relevances: list[Relevance | None], walk: "Walk") -> None:
    """Sums, or means, of the rows of each segment: the z-rule; a mean's factor takes no relevance."""
    relevance = relevances[0]
    if relevance is None:
        return
    data, ids = op.inputs[0], op.inputs[1]
    y = widen(op.outputs[0])
    c = quotient(relevance, y, walk.norm_epsilon)
    walk.absorb(op, stabilizer=c * stabilizer(y, walk.norm_epsilon))
    g = _at(c, ids)
    if op.type == "SegmentMean":
        count = tf.math.segment_sum(tf.ones_like(widen(data)), ids)
        g = g / tf.gather(count, ids)
    walk.send(data, Relevance(data, gradient=g))


@register("SegmentMax", "SegmentMin", "UnsortedSegmentMax", "UnsortedSegmentMin")
def segment_extremum(op: tf.Operation, relevances: list[Relevance | None], walk: "Walk") -> None:
    """The largest (smallest) of each segment: the winner takes all, ties share equally."""
    relevance = relevances[0]
    if relevance is None:
        return
    data, ids = op.inputs[0], op.inputs[1]
    x, y = widen(data), widen(op.outputs[0])
    if ids.shape.rank != 1:
        walk.refuse(op, "Its segments are numbered in several dimensions.")
    top = tf.gather(y, tf.maximum(ids, 0))
    wins = _at(tf.ones_like(y), ids) * tf.cast(tf.abs(x - top) <= TIE_TOLERANCE * tf.abs(top), x.dtype)
    counts = scatter_sum(wins, tf.maximum(ids, 0), tf.shape(y)[0])
    share = relevance.value() / tf.maximum(counts, tf.ones([1], counts.dtype))
    walk.send(data, Relevance(data, relevance=wins * tf.gather(share, tf.maximum(ids, 0))))


@register("ScatterNd")
def scatter(op: tf.Operation, relevances: list[Relevance | None], walk: "Walk") -> None:
    """Writes rows to positions among zeros; what meets at one position adds up."""
    relevance = relevances[0]
    if relevance is None:
        return
    indices, updates = op.inputs[0], op.inputs[1]
    c = _share(op, relevance, walk)
    walk.send(updates, Relevance(updates, gradient=tf.gather_nd(c, indices)))


@register("TensorScatterAdd", "TensorScatterSub")
def scatter_add(op: tf.Operation, relevances: list[Relevance | None], walk: "Walk") -> None:
    """Adds rows to those at given positions: the z-rule between what was there and what was added."""
    relevance = relevances[0]
    if relevance is None:
        return
    tensor, indices, updates = op.inputs
    c = _share(op, relevance, walk)
    sign = -1 if op.type == "TensorScatterSub" else 1
    walk.send(tensor, Relevance(tensor, gradient=c))
    walk.send(updates, Relevance(updates, gradient=sign * tf.gather_nd(c, indices)))
    if walk.audits:
        held = tf.zeros_like(c) if walk.trace.is_signal(tensor) else c * widen(tensor)
        if not walk.trace.is_signal(updates):
            added = tf.zeros_like(c)
            held += c * tf.tensor_scatter_nd_add(added, indices, sign * widen(updates))
        walk.absorb(op, bias=held)


@register("TensorScatterUpdate")
def scatter_update(op: tf.Operation, relevances: list[Relevance | None], walk: "Walk") -> None:
    """Puts rows in the place of those at given positions: relevance goes to what is there now."""
    relevance = relevances[0]
    if relevance is None:
        return
    tensor, indices, updates = op.inputs

    def remaining(r: tf.Tensor) -> tf.Tensor:
        return tf.tensor_scatter_nd_update(r, indices, tf.zeros_like(tf.gather_nd(r, indices)))

    route(tensor, relevance, remaining, walk)
    route(updates, relevance, lambda r: tf.gather_nd(r, indices), walk)
    if walk.audits:
        r = relevance.value()
        held = tf.zeros_like(r) if walk.trace.is_signal(tensor) else remaining(r)
        walk.absorb(op, bias=held if walk.trace.is_signal(updates) else held + r - remaining(r))


def _share(op: tf.Operation, relevance: Relevance, walk: "Walk") -> tf.Tensor:
    """c = R / (y + epsilon s(y))."""
    y = widen(op.outputs[0])
    c = quotient(relevance, y, walk.norm_epsilon)
    walk.absorb(op, stabilizer=c * stabilizer(y, walk.norm_epsilon))
    return c
