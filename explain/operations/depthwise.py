"""Depthwise convolutions, a filter for each channel: `DepthwiseConv1D/2D`, the first half of `SeparableConv`."""

import math
from itertools import product
from typing import final

import numpy as np
import tensorflow as tf

from explain.linear_map import Kernel, LinearMap
from explain.operations.convolution import WindowedMap, flip, windows_of
from explain.operations.registry import register_linear_map
from explain.trace import Trace
from explain.windows import crop, depth_to_space, spatial_sizes


@final
class DepthwiseMap(WindowedMap):
    """Depthwise convolution with kernel `(height, width, channels, multiplier)`; output channels are channel-major."""

    def forward(self, x: tf.Tensor, kernel: Kernel) -> tf.Tensor:
        """The convolution with another kernel."""
        w = self.windows
        padding = w.padding
        if isinstance(padding, tuple):
            x, padding = tf.pad(x, [[0, 0], *padding, [0, 0]]), "VALID"
        return _depthwise(x, self._constant(kernel, x.dtype), w.strides, padding, w.dilations)

    def adjoint(self, c: tf.Tensor, kernel: Kernel) -> tf.Tensor:
        """Each output channel is convolved back with its flipped filter; those of one input channel add up."""
        *window, channels, multiplier = kernel.values.shape
        single = flip(kernel.values).reshape(*window, channels * multiplier, 1)
        if any(stride > 1 for stride in self.windows.strides):
            return self._strided_adjoint(c, kernel, single)
        padded = tf.pad(c, [[0, 0], *self._adjoint_padding(c), [0, 0]])
        constant = self._constant(kernel, c.dtype, "flipped", single)
        spread = _depthwise(padded, constant, (1,) * len(window), "VALID", self.windows.dilations)
        return _sum_multiplier(spread, channels, multiplier)

    def _strided_adjoint(self, c: tf.Tensor, kernel: Kernel, single: np.ndarray) -> tf.Tensor:
        """One filter for each phase of the input grid, as in `explain.operations.convolution`."""
        w, sizes = self.windows, spatial_sizes(self.input)
        *_, channels, multiplier = kernel.values.shape
        taps = [-(-k // s) for k, s in zip(w.sizes, w.strides, strict=True)]
        grown = [(0, t * s - k) for t, s, k in zip(taps, w.strides, w.sizes, strict=True)]
        padded = np.pad(flip(single), [*grown, (0, 0), (0, 0)])
        phases = [
            flip(padded[tuple(slice(r, None, s) for r, s in zip(phase, w.strides, strict=True))])
            for phase in product(*(range(s) for s in w.strides))
        ]
        constant = self._constant(kernel, c.dtype, "phases", np.concatenate(phases, axis=-1))
        framed = tf.pad(c, [[0, 0], *([t - 1, t - 1] for t in taps), [0, 0]])
        spread = _depthwise(framed, constant, (1, 1), "VALID", (1, 1))
        count, coarse = math.prod(w.strides), spatial_sizes(spread)
        split = tf.reshape(spread, [-1, *coarse, channels, multiplier * count])
        if multiplier > 1:  # a sum over a single element isn't free in ONNX Runtime
            split = tf.add_n(tf.split(split, multiplier, axis=-1))
        phase_major = tf.transpose(tf.reshape(split, [-1, *coarse, channels, count]), [0, 1, 2, 4, 3])
        stacked = tf.reshape(phase_major, [-1, *coarse, count * channels])
        return crop(depth_to_space(stacked, w.strides, channels), w.pad_before(sizes), sizes)


def _sum_multiplier(spread: tf.Tensor, channels: int, multiplier: int) -> tf.Tensor:
    if multiplier == 1:
        return spread
    split = tf.reshape(spread, [-1, *spatial_sizes(spread), channels, multiplier])
    return tf.reduce_sum(split, axis=-1)


def _depthwise(
    x: tf.Tensor, kernel: tf.Tensor, strides: tuple[int, ...], padding: str, dilations: tuple[int, ...]
) -> tf.Tensor:
    if len(strides) == 1:
        plane = tf.expand_dims(x, 1), tf.expand_dims(kernel, 0)
        return tf.squeeze(_depthwise(*plane, (1, *strides), padding, (1, *dilations)), 1)
    return tf.nn.depthwise_conv2d(x, kernel, [1, *strides, 1], padding, dilations=list(dilations))


@register_linear_map("DepthwiseConv2dNative")
def depthwise_map(op: tf.Operation, trace: Trace) -> LinearMap | None:
    """A depthwise convolution with a constant kernel."""
    _, kernel = op.inputs
    if not trace.is_constant(kernel) or op.get_attr("data_format") != b"NHWC":
        return None
    values = trace.value(kernel)
    return DepthwiseMap(op, Kernel(values, tensor=kernel), windows_of(op, values.shape[:-2]), trace)
