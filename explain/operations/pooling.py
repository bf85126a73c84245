"""Pooling: the largest element of a window takes all; an average shares in proportion (z-rule).

Elements that equal the largest share equally (Lapuschkin et al. 2016, LRP toolbox). Flat regions, a blank background
for one, make such ties common, and to give all to the first would tilt the heatmap. Equal means equal up to rounding:
two runtimes sum in different orders, and would break a tie differently.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import tensorflow as tf

from explain.operations.registry import register
from explain.relevance import Relevance, quotient, stabilizer, widen
from explain.rules import NORM_EPSILON
from explain.windows import Windows, read_offset, scatter_windows, spatial_sizes

if TYPE_CHECKING:
    from explain.propagation import Walk

# Takes what the windows hold, in either form, to the elements that hold it.
Router = Callable[[tf.Tensor], tf.Tensor]
# Elements within this part of the largest count as equal to it: some 8 units of rounding in float32, and the same in
# float64, so that single precision is checked against a reference that draws the line at the same place.
TIE_TOLERANCE = 1e-6


@register("MaxPool", "MaxPool3D")
def max_pool(op: tf.Operation, relevances: list[Relevance | None], walk: "Walk") -> None:
    """Winner takes all within each window, in either form: the winner's value is the window's."""
    relevance = relevances[0]
    if relevance is None:
        return
    windows = _windows(op)
    x, z = widen(op.inputs[0]), widen(op.outputs[0])
    route = _tile_router(x, z, windows) if _tiles(windows, x) else _window_router(x, z, windows)
    if relevance.gradient is None:
        walk.send(op.inputs[0], Relevance(op.inputs[0], relevance=route(relevance.value())))
        return
    r = relevance.value()
    sent = Relevance(op.inputs[0], relevance=route(r), gradient=route(relevance.gradient))

    def on_the_coarse_grid(epsilon: float, *, non_negative: bool, count: float) -> tf.Tensor:
        c = r / (z + stabilizer(z, epsilon, non_negative=non_negative))
        return route(c if count == 1.0 else c / count)

    walk.send(op.inputs[0], replace(sent, quotient=on_the_coarse_grid))


def _windows(op: tf.Operation) -> Windows:
    sizes = tuple(op.get_attr("ksize")[1:-1])
    padding = op.get_attr("padding").decode()
    return Windows(sizes, tuple(op.get_attr("strides")[1:-1]), (1,) * len(sizes), padding)


def _threshold(z: tf.Tensor) -> tf.Tensor:
    """The least value that counts as equal to the largest."""
    return z - TIE_TOLERANCE * tf.abs(z)


def _tiles(windows: Windows, x: tf.Tensor) -> bool:
    """The windows neither overlap nor leave anything out: each element lies in just one."""
    static = x.shape.as_list()[1:-1]
    return windows.sizes == windows.strides and all(
        size is not None and size % k == 0 for size, k in zip(static, windows.sizes, strict=True)
    )


def _split(x: tf.Tensor, windows: Windows) -> tf.Tensor:
    """`(batch, q1*k1, ..., qr*kr, channels)` to `(batch, q1, k1, ..., qr*kr*channels)`.

    The last dimension stays in one piece: runtimes broadcast over long rows much faster than over short ones.
    """
    *outer, last, channels = x.shape.as_list()[1:]
    pairs = [n for size, k in zip(outer, windows.sizes[:-1], strict=True) for n in (size // k, k)]
    return tf.reshape(x, [-1, *pairs, last * channels])


def _spread(coarse: tf.Tensor, windows: Windows) -> tf.Tensor:
    """`(batch, q1, ..., qr, channels)` to `(batch, q1, 1, ..., qr*kr*channels)`, to broadcast over each window."""
    *outer, last, channels = coarse.shape.as_list()[1:]
    row = tf.concat([coarse] * windows.sizes[-1], axis=-1)
    pairs = [n for size in outer for n in (size, 1)]
    return tf.reshape(row, [-1, *pairs, last * windows.sizes[-1] * channels])


def _tile_router(x: tf.Tensor, z: tf.Tensor, windows: Windows) -> Router:
    """Routes where each element lies in one window: a comparison and a product, the counting on the coarse grid."""
    wins = tf.cast(_split(x, windows) >= _spread(_threshold(z), windows), z.dtype)
    counts = _count(wins, z, windows)

    def route(carried: tf.Tensor) -> tf.Tensor:
        return tf.reshape(wins * _spread(carried / counts, windows), [-1, *x.shape.as_list()[1:]])

    return route


def _count(wins: tf.Tensor, z: tf.Tensor, windows: Windows) -> tf.Tensor:
    """How many elements of each window win, `(batch, q1, ..., qr, channels)`; slices add up faster than a reduction."""
    for axis, k in enumerate(windows.sizes[:-1]):
        wins = tf.add_n([wins[(slice(None),) * (2 + axis) + (m,)] for m in range(k)])
    sizes = z.shape.as_list()[1:]
    rows = tf.reshape(wins, [-1, *sizes[:-1], windows.sizes[-1] * sizes[-1]])
    return tf.add_n(tf.split(rows, windows.sizes[-1], axis=-1))


def _window_router(x: tf.Tensor, z: tf.Tensor, windows: Windows) -> Router:
    """Routes windows that overlap, or leave a rest."""
    sizes, output_sizes = spatial_sizes(x), spatial_sizes(z)
    padded = _pad(x, windows, float(x.dtype.min))
    threshold = _threshold(z)
    wins: dict[tuple[int, ...], tf.Tensor] = {}
    for offset in np.ndindex(*windows.sizes):
        wins[offset] = tf.cast(read_offset(padded, windows, offset, output_sizes) >= threshold, z.dtype)
    counts = tf.add_n(list(wins.values()))

    def route(carried: tf.Tensor) -> tf.Tensor:
        share = carried / counts
        return scatter_windows(lambda offset: wins[offset] * share, windows, sizes, fill=carried)

    return route


def _pad(x: tf.Tensor, windows: Windows, value: float) -> tf.Tensor:
    """Pads as the pooling operation does, so that every window lies within the tensor."""
    if windows.padding == "VALID":
        return x
    sizes = spatial_sizes(x)
    pads = [[0, 0]]
    for size, before, k, s in zip(sizes, windows.pad_before(sizes), windows.sizes, windows.strides, strict=True):
        reach = (-(-size // s) - 1) * s + k - size - before
        pads.append([before, max(reach, 0) if isinstance(reach, int) else tf.maximum(reach, 0)])
    return tf.pad(x, [*pads, [0, 0]], constant_values=value)


@register("AvgPool", "AvgPool3D")
def average_pool(op: tf.Operation, relevances: list[Relevance | None], walk: "Walk") -> None:
    """R_i = x_i / n / (z + epsilon s(z)) R, n the elements of the window that are not padding."""
    relevance = relevances[0]
    if relevance is None:
        return
    x, z = widen(op.inputs[0]), widen(op.outputs[0])
    windows = _windows(op)
    c = quotient(relevance, z, NORM_EPSILON)
    walk.absorb(op, stabilizer=c * stabilizer(z, NORM_EPSILON))
    sizes = spatial_sizes(x)
    if _tiles(windows, x):
        count = float(np.prod(windows.sizes))
        g = tf.reshape(_spread(c / count, windows) * tf.ones_like(_split(x, windows)), [-1, *x.shape.as_list()[1:]])
    else:
        part = c / _elements(x, windows, c)
        g = scatter_windows(lambda _offset: part, windows, sizes, fill=c)
    walk.send(op.inputs[0], Relevance(op.inputs[0], gradient=g))


def _elements(x: tf.Tensor, windows: Windows, z: tf.Tensor) -> tf.Tensor:
    """How many elements that are not padding each window holds, broadcasting over batch and channels."""
    if windows.padding == "VALID":
        return tf.constant(float(np.prod(windows.sizes)), z.dtype)
    ones = tf.ones_like(x[:1, ..., :1])
    padded = _pad(ones, windows, 0.0)
    return tf.add_n([read_offset(padded, windows, o, spatial_sizes(z)) for o in np.ndindex(*windows.sizes)])


@register("Mean", "Sum")
def mean(op: tf.Operation, relevances: list[Relevance | None], walk: "Walk") -> None:
    """A sum over axes shares by the z-rule; the mean's factor takes no relevance."""
    relevance = relevances[0]
    if relevance is None:
        return
    x, z = widen(op.inputs[0]), widen(op.outputs[0])
    axes = walk.trace.value(op.inputs[1])
    known = op.type == "Mean" and not _unknown(x, axes)
    count = _elements_of(x, axes) if known else 1.0
    c = quotient(relevance, z, NORM_EPSILON, count=count)
    walk.absorb(op, stabilizer=c * count * stabilizer(z, NORM_EPSILON))
    kept = _restore_axes(c, x, axes, keep_dims=op.get_attr("keep_dims"))
    if op.type == "Mean" and not known:
        kept = kept * (tf.cast(tf.size(z), c.dtype) / tf.cast(tf.size(x), c.dtype))
    walk.send(op.inputs[0], Relevance(op.inputs[0], gradient=kept))


@register("Max", "Min")
def extremum_over_axes(op: tf.Operation, relevances: list[Relevance | None], walk: "Walk") -> None:
    """Global max pooling: winner takes all, ties share equally."""
    relevance = relevances[0]
    if relevance is None:
        return
    x, z = widen(op.inputs[0]), widen(op.outputs[0])
    axes = walk.trace.value(op.inputs[1])
    keep = bool(op.get_attr("keep_dims"))
    top = _restore_axes(z, x, axes, keep_dims=keep)
    wins = tf.cast(tf.abs(x - top) <= TIE_TOLERANCE * tf.abs(top), z.dtype)
    shares = _restore_axes(relevance.value(), x, axes, keep_dims=keep) / tf.reduce_sum(
        wins, axis=[int(a) for a in np.atleast_1d(axes)], keepdims=True
    )
    walk.send(op.inputs[0], Relevance(op.inputs[0], relevance=wins * shares))


def _restore_axes(reduced: tf.Tensor, x: tf.Tensor, axes: np.ndarray, *, keep_dims: bool) -> tf.Tensor:
    if keep_dims:
        return reduced
    for axis in sorted(int(a) % x.shape.rank for a in np.atleast_1d(axes)):
        reduced = tf.expand_dims(reduced, axis)
    return reduced


def _unknown(x: tf.Tensor, axes: np.ndarray) -> bool:
    return any(x.shape[int(axis)] is None for axis in np.atleast_1d(axes))


def _elements_of(x: tf.Tensor, axes: np.ndarray) -> float:
    return float(np.prod([x.shape[int(axis)] for axis in np.atleast_1d(axes)]))
