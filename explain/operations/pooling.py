"""Pooling: the largest element of a window takes all; an average shares in proportion (z-rule).

Elements that equal the largest share equally (Lapuschkin et al. 2016, LRP toolbox). Flat regions, a blank background
for one, make such ties common, and to give all to the first would tilt the heatmap. Equal means equal up to rounding:
two runtimes sum in different orders, and would break a tie differently.
"""

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Protocol

import numpy as np
import tensorflow as tf

from explain.operations.registry import register
from explain.operations.signs import is_non_negative
from explain.relevance import Relevance, quotient, stabilizer, widen
from explain.windows import Windows, read_offset, scatter_windows, spatial_sizes

if TYPE_CHECKING:
    from explain.propagation import Walk


class Router(Protocol):
    """Takes what the windows hold, in either form and divided by a number for each, to the elements that hold it."""

    def __call__(self, carried: tf.Tensor, divisor: tf.Tensor | None = None) -> tf.Tensor:
        """Relevance of what the pooling reads, in the form of `carried`."""
        ...


# Elements within this part of the largest count as equal to it: some 8 units of rounding in float32, and the same in
# float64, so that single precision is checked against a reference that draws the line at the same place.
TIE_TOLERANCE = 1e-6


@register("MaxPool", "MaxPool3D")
def max_pool(op: tf.Operation, relevances: list[Relevance | None], walk: "Walk") -> None:
    """Winner takes all within each window, in either form: the winner's value is the window's."""
    relevance = relevances[0]
    if relevance is None:
        return
    x, z = widen(op.inputs[0]), widen(op.outputs[0])
    pool = _Pool(x, z, _windows(op), non_negative=is_non_negative(op.inputs[0], walk.trace))
    tiled = _tiles(pool.windows, x)
    route = _tile_router(pool) if tiled else _window_router(pool)
    if relevance.gradient is None:
        walk.send(op.inputs[0], Relevance(op.inputs[0], relevance=route(relevance.value())))
        return
    g = relevance.gradient
    if tiled:
        z, g = _rows(z), _rows(g)
    r = z * g
    sent = Relevance(op.inputs[0], relevance=route(r), gradient=route(g))

    def on_the_coarse_grid(epsilon: float, *, non_negative: bool, count: float) -> tf.Tensor:
        divisor = z + stabilizer(z, epsilon, non_negative=non_negative)
        return route(r, divisor if count == 1.0 else count * divisor)

    walk.send(op.inputs[0], replace(sent, quotient=on_the_coarse_grid))


@dataclass(frozen=True)
class _Pool:
    """A max pooling: what it reads and gives, its windows, and whether what it reads is known not to be negative."""

    x: tf.Tensor
    z: tf.Tensor
    windows: Windows
    non_negative: bool

    def threshold(self, z: tf.Tensor) -> tf.Tensor:
        """The least value that counts as equal to the largest, z."""
        return z * (1 - TIE_TOLERANCE) if self.non_negative else z - TIE_TOLERANCE * tf.abs(z)


def _windows(op: tf.Operation) -> Windows:
    sizes = tuple(op.get_attr("ksize")[1:-1])
    padding = op.get_attr("padding").decode()
    return Windows(sizes, tuple(op.get_attr("strides")[1:-1]), (1,) * len(sizes), padding)


def _tiles(windows: Windows, x: tf.Tensor) -> bool:
    """The windows neither overlap nor leave anything out: each element lies in just one."""
    static = x.shape.as_list()[1:-1]
    return windows.sizes == windows.strides and all(
        size is not None and size % k == 0 for size, k in zip(static, windows.sizes, strict=True)
    )


def _rows(x: tf.Tensor) -> tf.Tensor:
    """`(batch, q1, ..., qr, channels)` to `(batch, q1, ..., qr*channels)`.

    Runtimes broadcast over long rows much faster than over short ones, and what is computed on rows is computed where
    it is needed: tf2onnx moves a transposition behind what comes after it, but not behind a reshape.
    """
    *outer, last, channels = x.shape.as_list()[1:]
    return tf.reshape(x, [-1, *outer, last * channels])


def _split(x: tf.Tensor, windows: Windows) -> tf.Tensor:
    """`(batch, q1*k1, ..., qr*kr, channels)` to `(batch, q1, k1, ..., qr*kr*channels)`."""
    *outer, last, channels = x.shape.as_list()[1:]
    pairs = [n for size, k in zip(outer, windows.sizes[:-1], strict=True) for n in (size // k, k)]
    return tf.reshape(x, [-1, *pairs, last * channels])


def _spread(coarse: tf.Tensor, windows: Windows, channels: int) -> tf.Tensor:
    """Rows `(batch, q1, ..., qr*channels)` to `(batch, q1, 1, ..., qr*kr*channels)`, to broadcast over each window."""
    *outer, row = coarse.shape.as_list()[1:]
    cells = tf.reshape(coarse, [-1, *outer, row // channels, channels])
    repeated = tf.concat([cells] * windows.sizes[-1], axis=-1)
    return tf.reshape(repeated, [-1, *(n for size in outer for n in (size, 1)), row * windows.sizes[-1]])


def _tile_router(pool: _Pool) -> Router:
    """Routes where each element lies in one window: a comparison and a product, the counting on the coarse grid."""
    x, z, windows, channels = pool.x, _rows(pool.z), pool.windows, pool.x.shape[-1]
    wins = tf.cast(_split(x, windows) >= _spread(pool.threshold(z), windows, channels), z.dtype)
    counts = _count(wins, windows, channels)

    def route(carried: tf.Tensor, divisor: tf.Tensor | None = None) -> tf.Tensor:
        carried = _rows(carried) if carried.shape.rank == x.shape.rank else carried
        share = carried / (counts if divisor is None else divisor * counts)
        return tf.reshape(wins * _spread(share, windows, channels), [-1, *x.shape.as_list()[1:]])

    return route


def _count(wins: tf.Tensor, windows: Windows, channels: int) -> tf.Tensor:
    """How many elements of each window win, as rows `(batch, q1, ..., qr*channels)`."""
    for axis in range(len(windows.sizes) - 1):
        wins = tf.reduce_sum(wins, axis=2 + axis)
    k = windows.sizes[-1]
    *outer, row = wins.shape.as_list()[1:]
    cells = tf.reshape(wins, [-1, *outer, row // (k * channels), k * channels])
    return _rows(tf.add_n(tf.split(cells, k, axis=-1)))  # short rows are added faster than they are reduced


def _window_router(pool: _Pool) -> Router:
    """Routes windows that overlap, or leave a rest."""
    x, z, windows = pool.x, pool.z, pool.windows
    sizes, output_sizes = spatial_sizes(x), spatial_sizes(z)
    padded = _pad(x, windows, float(x.dtype.min))
    threshold = pool.threshold(z)
    wins: dict[tuple[int, ...], tf.Tensor] = {}
    for offset in np.ndindex(*windows.sizes):
        wins[offset] = tf.cast(read_offset(padded, windows, offset, output_sizes) >= threshold, z.dtype)
    counts = tf.add_n(list(wins.values()))

    def route(carried: tf.Tensor, divisor: tf.Tensor | None = None) -> tf.Tensor:
        share = carried / (counts if divisor is None else divisor * counts)
        return scatter_windows(lambda offset: wins[offset] * share, windows, sizes, fill=carried)

    return route


def _pad(x: tf.Tensor, windows: Windows, value: float) -> tf.Tensor:
    """Pads as the pooling operation does, so that every window lies within the tensor."""
    if windows.padding == "VALID":
        return x
    sizes = spatial_sizes(x)
    pads = [[0, 0]]
    for size, before, k, s in zip(sizes, windows.pad_before(sizes), windows.sizes, windows.strides, strict=True):
        reach = ((size + s - 1) // s - 1) * s + k - size - before
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
    c = quotient(relevance, z, walk.norm_epsilon)
    walk.absorb(op, stabilizer=c * stabilizer(z, walk.norm_epsilon))
    sizes = spatial_sizes(x)
    if _tiles(windows, x):
        count = float(np.prod(windows.sizes))
        rows = _spread(_rows(c) / count, windows, x.shape[-1])
        g = tf.reshape(rows * tf.ones_like(_split(x, windows)), [-1, *x.shape.as_list()[1:]])
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
    c = quotient(relevance, z, walk.norm_epsilon, count=count)
    walk.absorb(op, stabilizer=c * count * stabilizer(z, walk.norm_epsilon))
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
