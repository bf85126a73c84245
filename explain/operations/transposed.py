"""Transposed convolutions (`Conv1DTranspose`, `Conv2DTranspose`, `Conv3DTranspose`): their adjoint is a convolution."""

from typing import final

import numpy as np
import tensorflow as tf

from explain.linear_map import Kernel, LinearMap
from explain.operations.registry import register_linear_map
from explain.trace import Trace


@final
class TransposedConvolutionMap(LinearMap):
    """Channels-last transposed convolution; its kernel is held as `(k1, ..., inputs, filters)`."""

    kind = "convolution"

    def forward(self, x: tf.Tensor, kernel: Kernel) -> tf.Tensor:
        """The transposed convolution with another kernel."""
        operation = tf.raw_ops.Conv2DBackpropInput if x.shape.rank == 4 else tf.raw_ops.Conv3DBackpropInputV2
        return operation(
            input_sizes=tf.shape(self.output),
            filter=self._filter(kernel, x.dtype),
            out_backprop=x,
            **self._attributes(),
        )

    def adjoint(self, c: tf.Tensor, kernel: Kernel) -> tf.Tensor:
        """The convolution that the operation is the transpose of."""
        operation = tf.raw_ops.Conv2D if c.shape.rank == 4 else tf.raw_ops.Conv3D
        return operation(input=c, filter=self._filter(kernel, c.dtype), **self._attributes())

    def _filter(self, kernel: Kernel, dtype: tf.DType) -> tf.Tensor:
        swapped = np.ascontiguousarray(np.swapaxes(kernel.values, -1, -2))
        return self._constant(kernel, dtype, "swapped", swapped)

    def _attributes(self) -> dict[str, object]:
        return {name: self.op.get_attr(name) for name in ("strides", "padding", "dilations")}


@register_linear_map("Conv2DBackpropInput", "Conv3DBackpropInputV2")
def transposed_convolution_map(op: tf.Operation, trace: Trace) -> LinearMap | None:
    """A transposed convolution with a constant kernel."""
    _, kernel, x = op.inputs
    if not trace.is_constant(kernel) or op.get_attr("data_format") not in {b"NHWC", b"NDHWC"}:
        return None
    values = np.ascontiguousarray(np.swapaxes(trace.value(kernel), -1, -2))
    return TransposedConvolutionMap(op, x, Kernel(values), trace.derived, trace.layer(op))
