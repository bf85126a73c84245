"""Gathers: tokens of an embedding, and elements picked by positions, constant ones or from an input."""

from typing import TYPE_CHECKING

import numpy as np
import tensorflow as tf

from explain.operations.graph import scatter_sum
from explain.operations.registry import register
from explain.operations.shape import route
from explain.relevance import Relevance

if TYPE_CHECKING:
    from explain.propagation import Walk

_LARGEST_MATRIX = 1 << 16  # elements; beyond it rows are summed by position


@register("GatherV2", "ResourceGather")
def gather(op: tf.Operation, relevances: list[Relevance | None], walk: "Walk") -> None:
    """A token gets the sum over its embedding, R_t = sum_d R_td; what constant positions pick goes back there."""
    relevance = relevances[0]
    if relevance is None:
        return
    params, indices = op.inputs[0], op.inputs[1]
    if not walk.trace.is_signal(params):
        rank = indices.shape.rank
        axis = 0 if op.type == "ResourceGather" else int(walk.trace.value(op.inputs[2]))
        if axis != 0 or rank is None:
            walk.refuse(op, "Only a table's rows can be gathered.")
        r = relevance.value()
        walk.send(indices, Relevance(indices, relevance=tf.reduce_sum(r, axis=list(range(rank, r.shape.rank)))))
    elif op.type == "GatherV2" and _is_fixed(op, walk):
        _gather_back(op, relevance, walk)
    else:
        _scatter_back(op, relevance, walk)


@register("OneHot")
def one_hot(op: tf.Operation, relevances: list[Relevance | None], walk: "Walk") -> None:
    """A token gets what its row of zeros and a one holds."""
    relevance = relevances[0]
    if relevance is None:
        return
    indices = op.inputs[0]
    walk.send(indices, Relevance(indices, relevance=tf.reduce_sum(relevance.value(), axis=op.get_attr("axis"))))


@register("Bucketize", "LookupTableFindV2", "AsString", "StringToHashBucketFast", "StringToHashBucketStrong")
def look_up(op: tf.Operation, relevances: list[Relevance | None], walk: "Walk") -> None:
    """What a number or a word is replaced by (a bucket, its place in a vocabulary, a hash) stands for it."""
    relevance = relevances[0]
    if relevance is None:
        return
    source = op.inputs[1 if op.type == "LookupTableFindV2" else 0]
    walk.send(source, Relevance(source, relevance=relevance.value()))


@register("DenseBincount")
def count(op: tf.Operation, relevances: list[Relevance | None], walk: "Walk") -> None:
    """How often, or whether, each token occurs: what a count holds is shared equally by the tokens counted there."""
    relevance = relevances[0]
    if relevance is None:
        return
    tokens, size = op.inputs[0], op.inputs[1]
    if walk.trace.is_signal(op.inputs[2]) or tokens.shape.rank != 2:
        walk.refuse(op, "Only tokens without weights are explained, batch first.")
    # Layers that read int32 ask for an int64 size, which a depth can't be.
    counts = tf.reduce_sum(tf.one_hot(tokens, tf.cast(size, tf.int32), dtype=relevance.value().dtype), axis=1)
    each = tf.math.divide_no_nan(relevance.value(), counts)
    walk.send(tokens, Relevance(tokens, relevance=tf.gather(each, tokens, batch_dims=1)))


def _is_fixed(op: tf.Operation, walk: "Walk") -> bool:
    """Constant positions along an axis of known size: the adjoint is a product with a small constant matrix."""
    params, indices = op.inputs[0], op.inputs[1]
    axis = int(walk.trace.value(op.inputs[2])) % params.shape.rank
    size, count = params.shape[axis], indices.shape.num_elements()
    small = size is not None and count is not None and size * count <= _LARGEST_MATRIX
    return bool(small and walk.trace.is_constant(indices) and indices.shape.rank < 2 and not op.get_attr("batch_dims"))


def _gather_back(op: tf.Operation, relevance: Relevance, walk: "Walk") -> None:
    """The adjoint as a product with a constant matrix of zeros and ones: every runtime has it."""
    params, indices = op.inputs[0], op.inputs[1]
    axis = int(walk.trace.value(op.inputs[2])) % params.shape.rank
    positions = np.atleast_1d(walk.trace.value(indices))
    scatter = np.zeros((len(positions), params.shape[axis]))
    scatter[np.arange(len(positions)), positions] = 1
    scalar = indices.shape.rank == 0

    def adjoint(r: tf.Tensor) -> tf.Tensor:
        r = tf.expand_dims(r, axis) if scalar else r
        back = tf.tensordot(r, tf.constant(scatter, r.dtype), axes=[[axis], [0]])  # the axis moves to the end
        order = list(range(r.shape.rank - 1))
        order.insert(axis, r.shape.rank - 1)
        return tf.transpose(back, order)

    route(params, relevance, adjoint, walk)


def _scatter_back(op: tf.Operation, relevance: Relevance, walk: "Walk") -> None:
    """The adjoint as a sum of rows by position."""
    params, indices = op.inputs[0], op.inputs[1]
    batch = op.get_attr("batch_dims") % max(indices.shape.rank, 1) if op.type == "GatherV2" else 0
    axis = int(walk.trace.value(op.inputs[2])) % params.shape.rank if op.type == "GatherV2" else 0
    route(params, relevance, lambda r: scatter_back(r, params, indices, axis=axis, batch=batch), walk)


def scatter_back(r: tf.Tensor, params: tf.Tensor, indices: tf.Tensor, *, axis: int, batch: int) -> tf.Tensor:
    """Adds what was gathered to where it was read, `(batch..., before..., positions..., after...)`.

    The axes of the batch, which the positions share, are joined with the axis of the positions, example after example.

    Args:
        r: In the shape of what was gathered.
        params: What was gathered from.
        indices: Positions, `(batch..., positions...)`.
        axis: The axis of `params` that they count.
        batch: How many axes are shared.
    """
    shape, rank = tf.shape(params), params.shape.rank
    picked = indices.shape.rank - batch  # axes that the positions have in the result
    examples = tf.reduce_prod(shape[:batch])
    size = shape[axis] if params.shape[axis] is None else params.shape[axis]
    rows = tf.reshape(indices, tf.stack([examples, tf.size(indices) // tf.maximum(examples, 1)]))
    rows = tf.reshape(rows + tf.cast(tf.range(examples) * size, indices.dtype)[:, tf.newaxis], [-1])
    before, after = list(range(batch, axis)), list(range(axis + 1, rank))
    kept = tf.gather(shape, tf.constant(before + after, tf.int32))
    order = [*range(batch), *range(axis, axis + picked), *before, *range(axis + picked, r.shape.rank)]
    written = tf.reshape(tf.transpose(r, order), tf.concat([tf.shape(rows), kept], axis=0))
    back = tf.reshape(scatter_sum(written, rows, examples * size), tf.concat([shape[:batch], [size], kept], axis=0))
    end = batch + 1 + len(before)
    back = tf.transpose(back, [*range(batch), *range(batch + 1, end), batch, *range(end, rank)])
    return tf.ensure_shape(back, params.shape)


@register("GatherNd")
def gather_nd(op: tf.Operation, relevances: list[Relevance | None], walk: "Walk") -> None:
    """What was picked goes back; what was picked several times adds up."""
    relevance = relevances[0]
    if relevance is None:
        return
    params, indices = op.inputs
    if not walk.trace.is_signal(params):
        walk.refuse(op, "It looks up a constant in several dimensions.")

    def adjoint(r: tf.Tensor) -> tf.Tensor:
        return tf.tensor_scatter_nd_add(tf.zeros(tf.shape(params), r.dtype), indices, r)

    route(params, relevance, adjoint, walk)
