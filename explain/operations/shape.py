"""Operations that only move elements: relevance moves back with them, in either form, and nothing is lost.

What is copied several times collects the sum; what is padded in or was cut away carries no relevance.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, final

import numpy as np
import tensorflow as tf

from explain.linear_map import dynamic_shape
from explain.operations.registry import register
from explain.relevance import Relevance

if TYPE_CHECKING:
    from explain.propagation import Walk

Adjoint = Callable[[tf.Tensor], tf.Tensor]


def route(tensor: tf.Tensor, relevance: Relevance, adjoint: Adjoint, walk: "Walk") -> None:
    """Sends relevance on through the adjoint of a move, in the forms in which it came."""
    r, g, quotient = relevance.relevance, relevance.gradient, relevance.quotient

    def moved(epsilon: float, *, non_negative: bool, count: float) -> tf.Tensor:
        return adjoint(quotient(epsilon, non_negative=non_negative, count=count))  # type: ignore[misc]

    sent = Relevance(
        tensor, None if r is None else adjoint(r), None if g is None else adjoint(g), quotient=quotient and moved
    )
    walk.send(tensor, sent)


@register("Identity", "StopGradient", "PreventGradient", "CheckNumerics", "Cast", "Snapshot", "EnsureShape")
def identity(op: tf.Operation, relevances: list[Relevance | None], walk: "Walk") -> None:
    """Passes on what it got."""
    if relevances[0] is not None:
        received = relevances[0]
        walk.send(op.inputs[0], Relevance(op.inputs[0], received.relevance, received.gradient, received.rectified))


@register("IdentityN")
def identity_n(op: tf.Operation, relevances: list[Relevance | None], walk: "Walk") -> None:
    """Each output is the input at its position."""
    for tensor, relevance in zip(op.inputs, relevances, strict=True):
        if relevance is not None:
            walk.send(tensor, Relevance(tensor, relevance.relevance, relevance.gradient))


@register("Reshape", "Squeeze", "ExpandDims")
def reshape(op: tf.Operation, relevances: list[Relevance | None], walk: "Walk") -> None:
    """Back to the shape that came in."""
    if relevances[0] is not None:
        shape = dynamic_shape(op.inputs[0])
        route(op.inputs[0], relevances[0], lambda r: tf.reshape(r, shape), walk)


@register("Transpose")
def transpose(op: tf.Operation, relevances: list[Relevance | None], walk: "Walk") -> None:
    """The inverse permutation."""
    if relevances[0] is not None:
        inverse = [int(axis) for axis in np.argsort(walk.trace.value(op.inputs[1]))]
        route(op.inputs[0], relevances[0], lambda r: tf.transpose(r, inverse), walk)


@register("ConcatV2")
def concatenate(op: tf.Operation, relevances: list[Relevance | None], walk: "Walk") -> None:
    """Each input gets the slice that is its own."""
    if relevances[0] is None:
        return
    *tensors, axis_tensor = op.inputs
    axis = int(walk.trace.value(axis_tensor)) % tensors[0].shape.rank
    sizes = [tensor.shape[axis] for tensor in tensors]
    if None in sizes:
        sizes = tf.stack([tf.shape(tensor)[axis] for tensor in tensors])
    for position in walk.trace.signals(op):
        route(
            tensors[position],
            relevances[0],
            partial(_part, sizes=sizes, axis=axis, position=position),
            walk,
        )


def _part(joined: tf.Tensor, *, sizes: list[int] | tf.Tensor, axis: int, position: int) -> tf.Tensor:
    num = len(sizes) if isinstance(sizes, list) else sizes.shape[0]
    return tf.split(joined, sizes, axis=axis, num=num)[position]


@register("Pack")
def stack(op: tf.Operation, relevances: list[Relevance | None], walk: "Walk") -> None:
    """Each input gets the slice that is its own."""
    if relevances[0] is None:
        return
    axis = op.get_attr("axis")
    for position in walk.trace.signals(op):
        route(
            op.inputs[position],
            relevances[0],
            partial(tf.gather, indices=position, axis=axis),
            walk,
        )


@register("Unpack")
def unstack(op: tf.Operation, relevances: list[Relevance | None], walk: "Walk") -> None:
    """The slices are stacked again; those that hold no relevance as zeros."""
    axis = op.get_attr("axis")
    parts = [
        tf.zeros_like(output) if relevance is None else relevance.value()
        for output, relevance in zip(op.outputs, relevances, strict=True)
    ]
    walk.send(op.inputs[0], Relevance(op.inputs[0], relevance=tf.stack(parts, axis=axis)))


@register("Split", "SplitV")
def split(op: tf.Operation, relevances: list[Relevance | None], walk: "Walk") -> None:
    """The parts are joined again; those that hold no relevance as zeros."""
    tensor, axis_tensor = (op.inputs[1], op.inputs[0]) if op.type == "Split" else (op.inputs[0], op.inputs[2])
    axis = int(walk.trace.value(axis_tensor))
    parts = [
        tf.zeros_like(output) if relevance is None else relevance.value()
        for output, relevance in zip(op.outputs, relevances, strict=True)
    ]
    walk.send(tensor, Relevance(tensor, relevance=tf.concat(parts, axis=axis)))


@register("Pad", "PadV2")
def pad(op: tf.Operation, relevances: list[Relevance | None], walk: "Walk") -> None:
    """What was padded in is cut off; a padding value other than zero keeps what it got (it is a bias)."""
    if relevances[0] is None:
        return
    paddings = walk.trace.value(op.inputs[1])
    tensor = op.inputs[0]
    begin = [int(before) for before, _ in paddings]
    shape = tf.shape(tensor) if None in tensor.shape.as_list()[1:] else [-1, *tensor.shape.as_list()[1:]]
    if paddings[0].any():
        shape = tf.shape(tensor)
    route(tensor, relevances[0], lambda r: tf.slice(r, begin, shape), walk)
    if walk.audits:
        r = relevances[0].value()
        walk.absorb(op, bias=r - tf.pad(tf.slice(r, begin, shape), paddings))


@register("StridedSlice", "Slice")
def strided_slice(op: tf.Operation, relevances: list[Relevance | None], walk: "Walk") -> None:
    """What was cut away gets zeros."""
    relevance = relevances[0]
    if relevance is None:
        return
    tensor = op.inputs[0]
    spans = _slice_spans(op, walk) if op.type == "Slice" else _strided_spans(op, tensor.shape.as_list(), walk)
    added = [] if op.type == "Slice" else _new_axes(op, tensor.shape.rank)

    def adjoint(r: tf.Tensor) -> tf.Tensor:
        return _unslice(tf.squeeze(r, added) if added else r, spans, tensor)

    route(tensor, relevance, adjoint, walk)


@final
@dataclass(frozen=True)
class _Span:
    """What a slice takes of one axis.

    Args:
        first: Index of the first element; negative counts from the end.
        stride: Step.
        dropped: A single element, and the axis is gone.
        whole: Everything.
        reversed: Counted and taken from the end.
    """

    first: int = 0
    stride: int = 1
    dropped: bool = False
    whole: bool = True
    reversed: bool = False


def _slice_spans(op: tf.Operation, walk: "Walk") -> list[_Span]:
    sizes = walk.trace.value(op.inputs[2]) if walk.trace.is_constant(op.inputs[2]) else None
    begin = walk.trace.value(op.inputs[1])
    return [
        _Span(int(first), whole=bool(first == 0 and sizes is not None and sizes[axis] == -1))
        for axis, first in enumerate(begin)
    ]


def _has(op: tf.Operation, mask: str, position: int) -> bool:
    return bool(op.get_attr(f"{mask}_mask") & (1 << position))


def _is_new(op: tf.Operation, position: int) -> bool:
    return _has(op, "new_axis", position) and not _has(op, "ellipsis", position)


def _new_axes(op: tf.Operation, rank: int) -> list[int]:
    """Axes of the result that the slice puts in, as `x[..., None]` does."""
    added: list[int] = []
    axis, given = 0, op.inputs[1].shape[0]
    taken = sum(not _is_new(op, p) and not _has(op, "ellipsis", p) for p in range(given))
    for position in range(given):
        if _has(op, "ellipsis", position):
            axis += rank - taken
        elif _is_new(op, position):
            added.append(axis)
            axis += 1
        elif not _has(op, "shrink_axis", position):
            axis += 1
    return added


def _strided_spans(op: tf.Operation, sizes: list[int | None], walk: "Walk") -> list[_Span]:
    begin, strides = walk.trace.value(op.inputs[1]), walk.trace.value(op.inputs[3])
    positions = [p for p in range(len(begin)) if not _is_new(op, p)]
    spans: list[_Span] = []
    for position in positions:
        if _has(op, "ellipsis", position):
            spans.extend([_Span()] * (len(sizes) - len(positions) + 1))
            continue
        from_start = _has(op, "begin", position)
        stride, dropped = int(strides[position]), _has(op, "shrink_axis", position)
        first = 0 if from_start else int(begin[position])
        if stride < 0:
            spans.append(_Span(_from_end(first, sizes[len(spans)], from_start, op, walk), -stride, False, False, True))
            continue
        whole = _has(op, "end", position) and first == 0 and stride == 1 and not dropped
        spans.append(_Span(first, stride, dropped, whole))
    return spans + [_Span()] * (len(sizes) - len(spans))


def _from_end(first: int, size: int | None, from_start: bool, op: tf.Operation, walk: "Walk") -> int:
    """Where a slice that runs backwards begins, counted from the end."""
    if from_start:
        return 0
    if first < 0:
        return -first - 1
    if size is None:
        walk.refuse(op, "It runs backwards from a position on an axis of unknown size.")
    return max(size - 1 - first, 0)


def _unslice(r: tf.Tensor, spans: list[_Span], tensor: tf.Tensor) -> tf.Tensor:
    """Puts a slice back in its place among zeros."""
    for axis, span in enumerate(spans):
        if span.dropped:
            r = tf.expand_dims(r, axis)
    shape = tf.shape(tensor)
    for axis, span in enumerate(spans):
        full = span.first == 0 and r.shape[axis] is not None and r.shape[axis] == tensor.shape[axis]
        if span.whole or (full and span.stride == 1):
            continue
        if span.stride > 1:
            r = _zero_stuffed(r, axis, span.stride)
        size = shape[axis] if tensor.shape[axis] is None else tensor.shape[axis]
        start = _within(span.first if span.first >= 0 else size + span.first, size)
        have = tf.shape(r)[axis] if r.shape[axis] is None else r.shape[axis]
        missing = size - start - have
        if isinstance(missing, int) and missing < 0:
            r = tf.gather(r, list(range(size - start)), axis=axis)
            missing = 0
        paddings = [[0, 0]] * tensor.shape.rank
        paddings[axis] = [start, missing]
        r = tf.pad(r, paddings)
    backwards = [axis for axis, span in enumerate(spans) if span.reversed]
    return tf.reverse(r, backwards) if backwards else r


def _within(start: int | tf.Tensor, size: int | tf.Tensor) -> int | tf.Tensor:
    """Where a slice that may begin beyond either end begins."""
    if isinstance(start, int) and isinstance(size, int):
        return min(max(start, 0), size)
    return tf.clip_by_value(start, 0, size)


def _zero_stuffed(r: tf.Tensor, axis: int, stride: int) -> tf.Tensor:
    """Puts stride - 1 zeros after each element of an axis but the last."""
    stuffed = tf.stack([r, *([tf.zeros_like(r)] * (stride - 1))], axis=axis + 1)
    sizes = tf.shape(r)
    joined = tf.reshape(stuffed, tf.concat([sizes[:axis], [sizes[axis] * stride], sizes[axis + 1 :]], axis=0))
    return tf.slice(
        joined, [0] * r.shape.rank, tf.concat([sizes[:axis], [sizes[axis] * stride - stride + 1], sizes[axis + 1 :]], 0)
    )


@register("Tile")
def tile(op: tf.Operation, relevances: list[Relevance | None], walk: "Walk") -> None:
    """Copies add up: each axis of n copies is split in two, and summed over the copies."""
    if relevances[0] is None:
        return
    tensor, multiples = op.inputs[0], walk.trace.value(op.inputs[1])
    sizes = tf.shape(tensor)
    parts = [part for axis, count in enumerate(multiples) for part in (int(count), _size(tensor, sizes, axis))]
    axes = list(range(0, 2 * len(multiples), 2))
    route(tensor, relevances[0], lambda r: tf.reduce_sum(tf.reshape(r, parts), axis=axes), walk)


def _size(tensor: tf.Tensor, sizes: tf.Tensor, axis: int) -> int | tf.Tensor:
    return sizes[axis] if tensor.shape[axis] is None else tensor.shape[axis]


@register("BroadcastTo")
def broadcast(op: tf.Operation, relevances: list[Relevance | None], walk: "Walk") -> None:
    """Copies add up."""
    if relevances[0] is not None:
        tensor = op.inputs[0]
        route(tensor, relevances[0], lambda r: walk.reduce_to(r, tensor), walk)


@register("ReverseV2")
def reverse(op: tf.Operation, relevances: list[Relevance | None], walk: "Walk") -> None:
    """Reversed again."""
    if relevances[0] is not None:
        axes = op.inputs[1]
        route(op.inputs[0], relevances[0], lambda r: tf.reverse(r, axes), walk)


@register("SpaceToBatchND")
def space_to_batch(op: tf.Operation, relevances: list[Relevance | None], walk: "Walk") -> None:
    """Its inverse; what it padded in is cropped."""
    if relevances[0] is not None:
        block, paddings = op.inputs[1], op.inputs[2]
        route(op.inputs[0], relevances[0], lambda r: tf.raw_ops.BatchToSpaceND(
            input=r, block_shape=block, crops=paddings), walk)  # fmt: skip


@register("BatchToSpaceND")
def batch_to_space(op: tf.Operation, relevances: list[Relevance | None], walk: "Walk") -> None:
    """Its inverse; what it cropped gets zeros."""
    if relevances[0] is not None:
        block, crops = op.inputs[1], op.inputs[2]
        route(op.inputs[0], relevances[0], lambda r: tf.raw_ops.SpaceToBatchND(
            input=r, block_shape=block, paddings=crops), walk)  # fmt: skip
