"""Operations along an axis that reorder, accumulate or multiply, and those that pick parts of matrices."""

from typing import TYPE_CHECKING

import numpy as np
import tensorflow as tf

from explain.operations.embedding import scatter_back
from explain.operations.registry import register
from explain.operations.shape import route
from explain.relevance import Relevance, quotient, stabilizer, widen

if TYPE_CHECKING:
    from explain.propagation import Walk


@register("TopKV2")
def top_k(op: tf.Operation, relevances: list[Relevance | None], walk: "Walk") -> None:
    """The largest elements, as sorting, medians and quantiles have them: relevance goes back to where they were."""
    relevance = relevances[0]
    if relevance is None:
        walk.refuse(op, "Relevance of positions has no place to go.")
    x, indices = op.inputs[0], op.outputs[1]
    route(x, relevance, lambda r: scatter_back(r, x, indices, axis=x.shape.rank - 1, batch=x.shape.rank - 1), walk)


@register("Cumsum")
def cumulative_sum(op: tf.Operation, relevances: list[Relevance | None], walk: "Walk") -> None:
    """y_t = x_1 + ... + x_t: the z-rule, R_t = x_t (c_t + c_(t+1) + ...) with c = R / (y + epsilon s(y))."""
    relevance = relevances[0]
    if relevance is None:
        return
    x, axis = op.inputs
    y = widen(op.outputs[0])
    c = quotient(relevance, y, walk.norm_epsilon)
    walk.absorb(op, stabilizer=c * stabilizer(y, walk.norm_epsilon))
    exclusive, reverse = op.get_attr("exclusive"), op.get_attr("reverse")
    walk.send(x, Relevance(x, gradient=tf.cumsum(c, axis, exclusive=exclusive, reverse=not reverse)))


@register("Prod")
def product(op: tf.Operation, relevances: list[Relevance | None], walk: "Walk") -> None:
    """A product of n factors of equal standing: each gets R / n (AttnLRP, Prop. 3.2)."""
    relevance = relevances[0]
    if relevance is None:
        return
    x = op.inputs[0]
    r = relevance.value()
    if not op.get_attr("keep_dims"):
        for axis in sorted(int(a) % x.shape.rank for a in np.atleast_1d(walk.trace.value(op.inputs[1]))):
            r = tf.expand_dims(r, axis)
    count = tf.cast(tf.size(x), r.dtype) / tf.cast(tf.size(r), r.dtype)
    walk.send(x, Relevance(x, relevance=tf.broadcast_to(r / count, tf.shape(x))))


@register("Roll")
def roll(op: tf.Operation, relevances: list[Relevance | None], walk: "Walk") -> None:
    """Rolled back."""
    if relevances[0] is not None:
        shift, axis = op.inputs[1], op.inputs[2]
        route(op.inputs[0], relevances[0], lambda r: tf.roll(r, -shift, axis), walk)


@register("DepthToSpace", "SpaceToDepth")
def rearrange(op: tf.Operation, relevances: list[Relevance | None], walk: "Walk") -> None:
    """Its inverse: blocks of pixels to channels and back."""
    if relevances[0] is not None:
        inverse = tf.nn.space_to_depth if op.type == "DepthToSpace" else tf.nn.depth_to_space
        block, order = op.get_attr("block_size"), op.get_attr("data_format").decode()
        route(op.inputs[0], relevances[0], lambda r: inverse(r, block, order), walk)


@register("MatrixBandPart")
def band(op: tf.Operation, relevances: list[Relevance | None], walk: "Walk") -> None:
    """Elements outside of the band are cut away: they get zeros."""
    if relevances[0] is not None:
        lower, upper = op.inputs[1], op.inputs[2]
        route(op.inputs[0], relevances[0], lambda r: tf.linalg.band_part(r, lower, upper), walk)


@register("MatrixDiagPartV3")
def diagonal(op: tf.Operation, relevances: list[Relevance | None], walk: "Walk") -> None:
    """Relevance goes back to the diagonal."""
    if relevances[0] is None:
        return
    matrix, offset = op.inputs[0], op.inputs[1]
    if np.ndim(walk.trace.value(offset)) and np.ptp(walk.trace.value(offset)):
        walk.refuse(op, "Several diagonals at once have no rule.")
    zeros = tf.zeros(tf.shape(matrix), widen(matrix).dtype)
    first = int(np.atleast_1d(walk.trace.value(offset))[0])
    route(matrix, relevances[0], lambda r: tf.linalg.set_diag(zeros, r, k=first), walk)
