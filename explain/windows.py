"""Sliding windows of convolutions and pooling: how far they are padded, and the adjoint of reading them.

A window of size k, stride s and dilation d at output position q reads the padded input at s*q + d*m, m < k. Relevance
that belongs to offset m of all windows goes back to positions s*q + d*m: position p = s*u + r takes the parts with
d*m = r (mod s), shifted by (d*m - r)/s on the coarse grid. So the adjoint is a few shifted sums on the coarse grid for
each phase r, and one interleaving of phases: no scatter, no zero-stuffing, and only operations that every runtime has.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any, TypeAlias, final

import tensorflow as tf

# A dimension: a number where it is known when the graph is built, else a scalar tensor.
Size: TypeAlias = Any


@final
@dataclass(frozen=True)
class Windows:
    """Geometry of sliding windows over the spatial dimensions of a channels-last tensor.

    Args:
        sizes: Window size for each spatial dimension.
        strides: Stride for each spatial dimension.
        dilations: Dilation for each spatial dimension.
        padding: `SAME`, `VALID`, or explicit (before, after) for each spatial dimension.
    """

    sizes: tuple[int, ...]
    strides: tuple[int, ...]
    dilations: tuple[int, ...]
    padding: str | tuple[tuple[int, int], ...]

    @property
    def extents(self) -> tuple[int, ...]:
        """How much of the input a window spans."""
        return tuple(d * (k - 1) + 1 for k, d in zip(self.sizes, self.dilations, strict=True))

    @property
    def blocks(self) -> tuple[int, ...]:
        """How many of the `stride` phases of each spatial dimension a window of single steps reads."""
        return tuple(min(k, s) for k, s in zip(self.sizes, self.strides, strict=True))

    def pad_before(self, input_sizes: Sequence[Size]) -> list[Size]:
        """Padding before the first element of each spatial dimension, as TensorFlow's `SAME` and `VALID` define it."""
        if isinstance(self.padding, tuple):
            return [before for before, _ in self.padding]
        if self.padding == "VALID":
            return [0] * len(self.sizes)
        result: list[Size] = []
        for size, extent, stride in zip(input_sizes, self.extents, self.strides, strict=True):
            if stride == 1:
                result.append((extent - 1) // 2)
                continue
            # Rounded up without a negative quotient: ONNX rounds those toward zero.
            needed = ((size + stride - 1) // stride - 1) * stride + extent - size
            result.append(max(needed, 0) // 2 if isinstance(needed, int) else tf.maximum(needed, 0) // 2)
        return result


def spatial_sizes(tensor: tf.Tensor) -> list[Size]:
    """Sizes of the spatial dimensions of a channels-last tensor, as numbers where they are known."""
    static = tensor.shape.as_list()[1:-1]
    if None not in static:
        return static
    dynamic = tf.shape(tensor)
    return [dynamic[axis + 1] if size is None else size for axis, size in enumerate(static)]


def interleave(phases: Sequence[tf.Tensor], strides: Sequence[int]) -> tf.Tensor:
    """Interleaves coarse grids: phase (r1, r2, ...) holds the positions s*u + r.

    Args:
        phases: One tensor `(batch, u1, ..., channels)` for each phase, in row-major order of (r1, r2, ...).
        strides: Number of phases along each spatial dimension.

    Returns:
        A tensor `(batch, s1*u1, ..., channels)`.
    """
    if len(phases) == 1:
        return phases[0]
    return _to_space(tf.concat(phases, axis=-1), strides, phases[0].shape[-1])


def _to_space(stacked: tf.Tensor, strides: Sequence[int], channels: int) -> tf.Tensor:
    """Moves phases from the channels `(..., s1*s2*channels)` to the spatial dimensions."""
    rank = len(strides)
    coarse = [stacked.shape[axis + 1] for axis in range(rank)]
    if rank == 2 and strides[0] == strides[1]:
        return tf.nn.depth_to_space(stacked, strides[0])
    sizes = [tf.shape(stacked)[axis + 1] if size is None else size for axis, size in enumerate(coarse)]
    split = tf.reshape(stacked, [-1, *sizes, *strides, channels])
    order = [0, *(axis for d in range(rank) for axis in (1 + d, 1 + rank + d)), 1 + 2 * rank]
    joined = tf.transpose(split, order)
    return tf.reshape(joined, [-1, *(u * s for u, s in zip(sizes, strides, strict=True)), channels])


def depth_to_space(stacked: tf.Tensor, strides: Sequence[int], channels: int) -> tf.Tensor:
    """The inverse of stacking the phases of a grid along its channels, for any number of spatial dimensions."""
    if all(stride == 1 for stride in strides):
        return stacked
    return _to_space(stacked, strides, channels)


def widen_blocks(x: tf.Tensor, blocks: Sequence[int], strides: Sequence[int]) -> tf.Tensor:
    """Puts zeros behind each block of a tensor, for the phases that no window reads.

    Args:
        x: `(batch, b1*u1, ..., channels)`.
        blocks: b, at most the stride.
        strides: s.

    Returns:
        A tensor `(batch, s1*u1, ..., channels)`.
    """
    if tuple(blocks) == tuple(strides):
        return x
    channels = x.shape[-1]
    coarse = [size // b for size, b in zip(spatial_sizes(x), blocks, strict=True)]
    split = [n for pair in zip(coarse, blocks, strict=True) for n in pair]
    added = [n for s, b in zip(strides, blocks, strict=True) for n in (0, s - b)]
    split[-1], added[-1] = split[-1] * channels, added[-1] * channels  # one piece with the channels
    padded = tf.pad(tf.reshape(x, [-1, *split]), [[0, 0], *([0, n] for n in added)])
    return tf.reshape(padded, [-1, *(u * s for u, s in zip(coarse, strides, strict=True)), channels])


def crop(padded: tf.Tensor, before: Sequence[Size], sizes: Sequence[Size]) -> tf.Tensor:
    """Cuts `sizes` elements of each spatial dimension from position `before`; pads with zeros where there are fewer."""
    available = spatial_sizes(padded)
    short = [_positive(first + size - have) for first, size, have in zip(before, sizes, available, strict=True)]
    if any(not isinstance(s, int) or s > 0 for s in short):
        padded = tf.pad(padded, [[0, 0], *([0, s] for s in short), [0, 0]])
        available = [have + s for have, s in zip(available, short, strict=True)]
    if all(
        isinstance(b, int) and isinstance(s, int) and isinstance(a, int) and b == 0 and a == s
        for b, s, a in zip(before, sizes, available, strict=True)
    ):
        return padded
    return tf.slice(padded, [0, *before, 0], [-1, *sizes, -1])


def _positive(value: Size) -> Size:
    return max(value, 0) if isinstance(value, int) else tf.maximum(value, 0)


def read_offset(padded: tf.Tensor, windows: Windows, offset: Sequence[int], output_sizes: Sequence[Size]) -> tf.Tensor:
    """Element `offset` of every window of an already padded tensor, `(batch, q1, ..., channels)`."""
    begin, end, steps = [0], [0], [1]
    for m, dilation, stride, count in zip(offset, windows.dilations, windows.strides, output_sizes, strict=True):
        begin.append(m * dilation)
        end.append(m * dilation + (count - 1) * stride + 1)
        steps.append(stride)
    return tf.strided_slice(
        padded, [*begin, 0], [*end, 0], [*steps, 1], begin_mask=1 | 1 << len(begin), end_mask=1 | 1 << len(begin)
    )


def scatter_windows(
    part: Callable[[tuple[int, ...]], tf.Tensor], windows: Windows, input_sizes: Sequence[Size], *, fill: tf.Tensor
) -> tf.Tensor:
    """Adjoint of reading windows: sums what belongs to each offset of each window into the positions it was read from.

    Args:
        part: Gives, for an offset in the window, a tensor `(batch, q1, ..., channels)` on the grid of windows.
        windows: The geometry.
        input_sizes: Sizes of the unpadded input.
        fill: A tensor on the grid of windows, for the shape of phases that no window reads.

    Returns:
        A tensor `(batch, input sizes..., channels)`.
    """
    reach = [(extent - 1) // stride for extent, stride in zip(windows.extents, windows.strides, strict=True)]
    sums: dict[tuple[int, ...], tf.Tensor] = {}
    for offset in product(*(range(k) for k in windows.sizes)):
        places = [m * d for m, d in zip(offset, windows.dilations, strict=True)]
        phase = tuple(place % s for place, s in zip(places, windows.strides, strict=True))
        shifts = [place // s for place, s in zip(places, windows.strides, strict=True)]
        shifted = tf.pad(part(offset), [[0, 0], *([h, r - h] for h, r in zip(shifts, reach, strict=True)), [0, 0]])
        sums[phase] = sums[phase] + shifted if phase in sums else shifted
    empty = tf.zeros_like(tf.pad(fill, [[0, 0], *([0, r] for r in reach), [0, 0]]))
    phases = [sums.get(phase, empty) for phase in product(*(range(s) for s in windows.strides))]
    return crop(interleave(phases, windows.strides), windows.pad_before(input_sizes), input_sizes)
