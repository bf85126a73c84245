"""Gathers: tokens of an embedding, and elements picked by constant positions."""

from typing import TYPE_CHECKING

import numpy as np
import tensorflow as tf

from explain.operations.registry import register
from explain.operations.shape import route
from explain.relevance import Relevance

if TYPE_CHECKING:
    from explain.propagation import Walk


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
    elif walk.trace.is_constant(indices):
        _gather_back(op, relevance, walk)
    else:
        walk.refuse(op, "Both what is gathered and where depend on the input.")


def _gather_back(op: tf.Operation, relevance: Relevance, walk: "Walk") -> None:
    """The adjoint as a product with a constant matrix of zeros and ones: every runtime has it."""
    params, indices = op.inputs[0], op.inputs[1]
    axis = int(walk.trace.value(op.inputs[2])) % params.shape.rank
    size = params.shape[axis]
    positions = np.atleast_1d(walk.trace.value(indices))
    if size is None or positions.ndim != 1 or op.get_attr("batch_dims"):
        walk.refuse(op, "It gathers along an axis of unknown size, or by positions in several dimensions.")
    scatter = np.zeros((len(positions), size))
    scatter[np.arange(len(positions)), positions] = 1
    scalar = indices.shape.rank == 0

    def adjoint(r: tf.Tensor) -> tf.Tensor:
        r = tf.expand_dims(r, axis) if scalar else r
        back = tf.tensordot(r, tf.constant(scatter, r.dtype), axes=[[axis], [0]])  # the axis moves to the end
        order = list(range(r.shape.rank - 1))
        order.insert(axis, r.shape.rank - 1)
        return tf.transpose(back, order)

    route(params, relevance, adjoint, walk)
