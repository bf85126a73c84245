"""Products with a constant matrix: `Dense` on any rank, a plain `keras.ops.matmul` with a weight, an adjacency."""

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


@final
class LeftProductMap(LinearMap):
    """A x for a constant matrix A `(rows, inputs)` and x `(..., inputs, channels)`, as graph convolutions have it."""

    kind = "dense"
    scalable = False  # the channels are x's own

    def forward(self, x: tf.Tensor, kernel: Kernel) -> tf.Tensor:
        """A' x."""
        return tf.matmul(self._constant(kernel, x.dtype), x)

    def adjoint(self, c: tf.Tensor, kernel: Kernel) -> tf.Tensor:
        """A'^T c."""
        if kernel.tensor is not None and kernel.tensor.dtype == c.dtype:
            return tf.matmul(kernel.tensor, c, transpose_a=True)
        return tf.matmul(self._constant(kernel, c.dtype), c, transpose_a=True)


@register_linear_map("MatMul", "BatchMatMulV2")
def dense_map(op: tf.Operation, trace: Trace) -> LinearMap | None:
    """A product of which one factor is a constant matrix: the second, as every `Dense` traces to, or the first."""
    names = ("transpose_a", "transpose_b") if op.type == "MatMul" else ("adj_x", "adj_y")
    transposed = [op.get_attr(name) for name in names]
    position = 1 if trace.is_constant(op.inputs[1]) else 0
    kernel, x = op.inputs[position], op.inputs[1 - position]
    if not trace.is_constant(kernel) or kernel.shape.rank != 2 or transposed[1 - position]:
        return None
    values = trace.value(kernel)
    made = LeftProductMap if position == 0 else DenseMap
    whole = Kernel(np.ascontiguousarray(values.T)) if transposed[position] else Kernel(values, tensor=kernel)
    return made(op, x, whole, trace.derived, trace.layer(op))
