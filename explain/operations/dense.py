"""Products with a constant matrix: `Dense` on any rank, and a plain `keras.ops.matmul` with a weight."""

from typing import final

import numpy as np
import tensorflow as tf

from explain.linear_map import Kernel, LinearMap
from explain.operations.registry import register_linear_map
from explain.trace import Trace


@final
class DenseMap(LinearMap):
    """x W for x of shape `(..., inputs)` and W of shape `(inputs, units)`."""

    kind = "dense"

    def forward(self, x: tf.Tensor, kernel: Kernel) -> tf.Tensor:
        """x W'."""
        return tf.matmul(x, self._constant(kernel, x.dtype))

    def adjoint(self, c: tf.Tensor, kernel: Kernel) -> tf.Tensor:
        """c W'^T; the model's own kernel is read from its variable."""
        if kernel.tensor is not None and kernel.tensor.dtype == c.dtype:
            return tf.matmul(c, kernel.tensor, transpose_b=True)
        return tf.matmul(c, self._constant(kernel, c.dtype), transpose_b=True)


@register_linear_map("MatMul", "BatchMatMulV2")
def dense_map(op: tf.Operation, trace: Trace) -> LinearMap | None:
    """A product whose second factor is a constant matrix, as every `Dense` traces to."""
    x, kernel = op.inputs
    if not trace.is_constant(kernel) or kernel.shape.rank != 2:
        return None
    transposed = op.get_attr("transpose_b" if op.type == "MatMul" else "adj_y")
    if op.get_attr("transpose_a" if op.type == "MatMul" else "adj_x"):
        return None
    values = trace.value(kernel)
    if transposed:
        return DenseMap(op, x, Kernel(np.ascontiguousarray(values.T)), trace.derived, trace.layer(op))
    return DenseMap(op, x, Kernel(values, tensor=kernel), trace.derived, trace.layer(op))
