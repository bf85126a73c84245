"""Convolutions: any stride, padding, dilation and number of groups, in one, two and three dimensions.

The transposed map is a convolution too, so that neither runtime falls back to a slow transposed convolution: with
stride 1, of the padded relevance with the flipped kernel, channels swapped; with stride s, one for each of the s*s
phases of the input grid, all phases as output channels of one convolution whose result is interleaved (see
`explain.windows`).
"""

import math
from collections.abc import Sequence
from itertools import product
from typing import final

import numpy as np
import tensorflow as tf

from explain.linear_map import Kernel, LinearMap
from explain.operations.registry import register_linear_map
from explain.trace import Trace
from explain.windows import Size, Windows, crop, depth_to_space, spatial_sizes, widen_blocks

# How many channels a runtime computes at once at least (16 floats of AVX-512).
_VECTOR_CHANNELS = 16


class WindowedMap(LinearMap):
    """A linear map that reads its input in sliding windows.

    TensorFlow traces a dilated convolution as a plain one on space that was moved to batches; the map then stands for
    all three operations.
    """

    kind = "convolution"

    def __init__(self, op: tf.Operation, kernel: Kernel, windows: Windows, trace: Trace) -> None:
        super().__init__(op, op.inputs[0], kernel, trace.derived, trace.layer(op))
        self.windows = windows
        self._see_through_blocks(trace)

    def _see_through_blocks(self, trace: Trace) -> None:
        """Takes in the moves of space to batches and back, and around them those of a dimension of size 1."""
        before, after = self.op.inputs[0].op, _only_consumer(self.op, trace)
        expanded = before.type == "ExpandDims" and after is not None and after.type == "Squeeze"
        if expanded:
            before, after = before.inputs[0].op, _only_consumer(after, trace)
        if before.type != "SpaceToBatchND" or after is None or after.type != "BatchToSpaceND":
            return
        dilations, block = trace.value(before.inputs[1]), trace.value(after.inputs[1])
        sizes = self.windows.sizes[-len(block) :]
        padding = _block_padding(before, after, trace)
        if not np.array_equal(dilations, block) or padding is None or (expanded and self.windows.sizes[0] != 1):
            return
        self.windows = Windows(sizes, (1,) * len(sizes), tuple(int(d) for d in dilations), padding)
        self.input, self.output = before.inputs[0], after.outputs[0]
        if expanded:
            self.kernel = Kernel(self.kernel.values[0])

    def _adjoint_padding(self, c: tf.Tensor) -> tuple[tuple[Size, Size], ...]:
        """How the relevance is padded before it is convolved with the flipped kernel, for stride 1."""
        w, sizes = self.windows, spatial_sizes(self.input)
        padding = []
        for before, extent, size, out in zip(w.pad_before(sizes), w.extents, sizes, spatial_sizes(c), strict=True):
            first = extent - 1 - before
            padding.append((first, size - out + extent - 1 - first))
        return tuple(padding)


def _only_consumer(op: tf.Operation, trace: Trace) -> tf.Operation | None:
    consumers = trace.consumers(op.outputs[0])
    return consumers[0] if len(consumers) == 1 else None


def _block_padding(before: tf.Operation, after: tf.Operation, trace: Trace) -> str | tuple[tuple[int, int], ...] | None:
    """The padding of a dilated convolution: what is padded in and not cropped.

    Of unknown sizes only what is padded in front is known: nothing where the convolution's padding is `VALID`, as below
    the padding of a causal one, something where it is `SAME` (or where both are alike: a kernel of one element).
    """
    if not (trace.is_constant(before.inputs[2]) and trace.is_constant(after.inputs[2])):
        starts = _first_column(before.inputs[2], trace)
        return None if starts is None else "SAME" if any(starts) else "VALID"
    padded, cropped = trace.value(before.inputs[2]), trace.value(after.inputs[2])
    if (padded < cropped).any():
        return None
    return tuple((int(first), int(last)) for first, last in padded - cropped)


def _first_column(pairs: tf.Tensor, trace: Trace) -> list[int] | None:
    """The first number of each pair of a tensor that is packed of pairs; None where one isn't known."""
    while pairs.op.type in {"Identity", "StridedSlice"}:
        pairs = pairs.op.inputs[0]
    rows = [row.op for row in pairs.op.inputs] if pairs.op.type == "Pack" else []
    if not rows or not all(row.type == "Pack" and trace.is_constant(row.inputs[0]) for row in rows):
        return None
    return [int(trace.value(row.inputs[0])) for row in rows]


@final
class ConvolutionMap(WindowedMap):
    """Channels-last convolution with kernel `(k1, ..., channels / groups, filters)`."""

    def __init__(self, op: tf.Operation, kernel: Kernel, windows: Windows, trace: Trace) -> None:
        super().__init__(op, kernel, windows, trace)
        self.groups = op.inputs[0].shape[-1] // kernel.values.shape[-2]

    def stacks(self, count: int) -> bool:
        """An image has so few channels that most of what a runtime computes for one part is thrown away."""
        return self.groups == 1 and count * self.input.shape[-1] <= _VECTOR_CHANNELS

    def forward(self, x: tf.Tensor, kernel: Kernel) -> tf.Tensor:
        """The convolution with another kernel."""
        w = self.windows
        return _convolve(x, self._constant(kernel, x.dtype), w.strides, w.padding, w.dilations)

    def adjoint(self, c: tf.Tensor, kernel: Kernel) -> tf.Tensor:
        """The transposed convolution, as a convolution."""
        if any(stride > 1 for stride in self.windows.strides):
            return self._strided_adjoint(c, kernel)
        block = self._block(kernel)
        if block > 1:
            return self._blocked_adjoint(c, kernel, block)
        flipped = _swap_channels(flip(kernel.values), self.groups)
        w = self.windows
        padding = _named_padding(self._adjoint_padding(c), w.extents)
        return _convolve(c, self._constant(kernel, c.dtype, "flipped", flipped), w.strides, padding, w.dilations)

    def _channels(self, kernel: Kernel) -> int:
        """How many channels the kernel reads; those of the input, or several times as many."""
        return int(kernel.values.shape[-2]) * self.groups

    def _block(self, kernel: Kernel) -> int:
        """Side of the blocks that the transposed map writes at once, 1 for single positions.

        Runtimes compute channels in groups of 8 or 16. With the 3 channels of an image most of that is thrown away, so
        a block of positions is put on the channels instead.
        """
        sizes = spatial_sizes(self.input)
        plain = self.groups == 1 and self.windows.dilations == (1, 1)
        if not plain or not all(isinstance(size, int) for size in sizes):
            return 1
        channels = self._channels(kernel)
        fitting = [b for b in (4, 2) if channels * b * b <= _VECTOR_CHANNELS and all(s % b == 0 for s in sizes)]
        return fitting[0] if fitting else 1

    def _blocked_adjoint(self, c: tf.Tensor, kernel: Kernel, block: int) -> tf.Tensor:
        """Block (u1, u2) of the input at once: one convolution of stride `block` whose kernel holds every shift."""
        rank = len(self.windows.sizes)
        flipped = _swap_channels(flip(kernel.values), 1)
        shifted = [
            np.pad(flipped, [*((r, block - 1 - r) for r in place), (0, 0), (0, 0)])
            for place in product(range(block), repeat=rank)
        ]
        strides = (block,) * rank
        constant = self._constant(kernel, c.dtype, f"blocks{block}", np.concatenate(shifted, axis=-1))
        stacked = _convolve(c, constant, strides, self._adjoint_padding(c), (1,) * rank)
        return depth_to_space(stacked, strides, self._channels(kernel))

    def _strided_adjoint(self, c: tf.Tensor, kernel: Kernel) -> tf.Tensor:
        w = self.windows
        phases, reach = phase_kernels(flip(kernel.values), w, self.groups)
        padding = [(r, r) for r in reach]
        stacked = _convolve(
            c, self._constant(kernel, c.dtype, "phases", phases), (1,) * len(reach), tuple(padding), (1,) * len(reach)
        )
        channels, blocks = self._channels(kernel), w.blocks
        if self.groups > 1:
            stacked = _ungroup_phases(stacked, self.groups, math.prod(blocks), channels)
        sizes = spatial_sizes(self.input)
        read = depth_to_space(stacked, blocks, channels)
        return crop(widen_blocks(read, blocks, w.strides), w.pad_before(sizes), sizes)


def flip(kernel: np.ndarray) -> np.ndarray:
    """The kernel reversed along each spatial dimension."""
    return np.flip(kernel, axis=tuple(range(kernel.ndim - 2)))


def _swap_channels(kernel: np.ndarray, groups: int) -> np.ndarray:
    """`(..., channels / g, filters)` to `(..., filters / g, channels)`, each group within itself."""
    *window, inputs, filters = kernel.shape
    split = kernel.reshape(*window, inputs, groups, filters // groups)
    moved = np.moveaxis(split, -3, -1)  # (..., groups, filters / g, channels / g)
    return np.ascontiguousarray(np.moveaxis(moved, -3, -2).reshape(*window, filters // groups, groups * inputs))


def phase_kernels(flipped: np.ndarray, windows: Windows, groups: int) -> tuple[np.ndarray, list[int]]:
    """One kernel for each phase of the input grid, stacked along the output channels.

    Position p = s*u + r of the padded input is sum over m = r (mod s) of c[u - (m - r)/s] w[m]: a convolution of the
    coarse grid with the elements r, r + s, ... of the kernel. A phase that no window reads, because the kernel is
    smaller than the stride (1x1 and stride 2), has none and is left out.

    Returns:
        The kernels `(t1, ..., filters / g, phases * channels)`, group-major, and t - 1 for each dimension.
    """
    sizes, strides = windows.sizes, windows.strides
    taps = [-(-k // s) for k, s in zip(sizes, strides, strict=True)]
    kernel = np.flip(flipped, axis=tuple(range(len(sizes))))
    padded = np.pad(kernel, [*((0, t * s - k) for t, s, k in zip(taps, strides, sizes, strict=True)), (0, 0), (0, 0)])
    per_phase = []
    for phase in product(*(range(b) for b in windows.blocks)):
        selected = padded[tuple(slice(r, None, s) for r, s in zip(phase, strides, strict=True))]
        per_phase.append(_swap_channels(flip(selected), groups))
    stacked = np.stack(per_phase, axis=-2)  # (..., filters / g, phases, channels)
    *window, filters, phases, channels = stacked.shape
    grouped = stacked.reshape(*window, filters, phases, groups, channels // groups)
    return np.moveaxis(grouped, -2, -3).reshape(*window, filters, phases * channels), [t - 1 for t in taps]


def _ungroup_phases(stacked: tf.Tensor, groups: int, phases: int, channels: int) -> tf.Tensor:
    """Group-major channels `(groups, phases, channels / g)` to phase-major ones."""
    sizes = spatial_sizes(stacked)
    split = tf.reshape(stacked, [-1, *sizes, groups, phases, channels // groups])
    rank = len(sizes) + 1
    moved = tf.transpose(split, [*range(rank), rank + 1, rank, rank + 2])
    return tf.reshape(moved, [-1, *sizes, phases * channels])


def _named_padding(padding: Sequence[tuple[int, int]], extents: Sequence[int]) -> str | tuple[tuple[int, int], ...]:
    """`SAME` or `VALID` where explicit padding is just that."""
    if all(isinstance(n, int) and n == 0 for pair in padding for n in pair):
        return "VALID"
    same = (((extent - 1) // 2, extent // 2) for extent in extents)
    if all(isinstance(n, int) for pair in padding for n in pair) and tuple(padding) == tuple(same):
        return "SAME"
    return tuple(padding)


def _convolve(
    x: tf.Tensor,
    kernel: tf.Tensor,
    strides: Sequence[int],
    padding: str | Sequence[tuple[int, int]],
    dilations: Sequence[int],
) -> tf.Tensor:
    if len(strides) == 1:  # TensorFlow has no convolution along one dimension
        plane = padding if isinstance(padding, str) else ((0, 0), *padding)
        kernel = tf.expand_dims(kernel, 0)
        return tf.squeeze(_convolve(tf.expand_dims(x, 1), kernel, (1, *strides), plane, (1, *dilations)), 1)
    if not isinstance(padding, str):
        x = tf.pad(x, [[0, 0], *([before, after] for before, after in padding), [0, 0]])
        padding = "VALID"
    operation = tf.raw_ops.Conv2D if len(strides) == 2 else tf.raw_ops.Conv3D
    return operation(input=x, filter=kernel, strides=[1, *strides, 1], padding=padding, dilations=[1, *dilations, 1])


def windows_of(op: tf.Operation, sizes: tuple[int, ...]) -> Windows:
    """The geometry that a convolution's attributes state."""
    padding: str | tuple[tuple[int, int], ...] = op.get_attr("padding").decode()
    if padding == "EXPLICIT":
        flat = op.get_attr("explicit_paddings")
        padding = tuple(zip(flat[2:-2:2], flat[3:-2:2], strict=True))
    strides, dilations = (tuple(op.get_attr(name)[1:-1]) for name in ("strides", "dilations"))
    return Windows(sizes=sizes, strides=strides, dilations=dilations, padding=padding)


@register_linear_map("Conv2D", "Conv3D")
def convolution_map(op: tf.Operation, trace: Trace) -> LinearMap | None:
    """A convolution with a constant kernel, as every `Conv1D`, `Conv2D` and `Conv3D` traces to."""
    kernel = op.inputs[1]
    data_format = op.get_attr("data_format").decode()
    if not trace.is_constant(kernel) or data_format not in {"NHWC", "NDHWC"}:
        return None
    values = trace.value(kernel)
    windows = windows_of(op, values.shape[:-2])
    return ConvolutionMap(op, Kernel(values, tensor=kernel), windows, trace)
