"""Products with a sparse matrix, as graph convolutions have them: only the edges that there are."""

from typing import TYPE_CHECKING, final

import numpy as np
import tensorflow as tf

from explain.linear_map import Kernel, LinearMap
from explain.operations.graph import scatter_sum
from explain.operations.product import share_product, takers
from explain.operations.registry import register, register_linear_map
from explain.relevance import Relevance, widen
from explain.trace import Trace

if TYPE_CHECKING:
    from explain.propagation import Walk


@final
class SparseMap(LinearMap):
    """A x for a constant sparse A; the kernel is the values of A's elements that aren't zero, `(elements,)`."""

    kind = "dense"
    scalable = False

    def __init__(self, op: tf.Operation, positions: np.ndarray, kernel: Kernel, trace: Trace) -> None:
        super().__init__(op, op.inputs[3], kernel, trace.derived, trace.layer(op))
        self._rows, self._columns = positions.T

    def forward(self, x: tf.Tensor, kernel: Kernel) -> tf.Tensor:
        """A' x."""
        return self._product(x, kernel, self._columns, self._rows, tf.shape(self.output)[0])

    def adjoint(self, c: tf.Tensor, kernel: Kernel) -> tf.Tensor:
        """A'^T c."""
        return self._product(c, kernel, self._rows, self._columns, tf.shape(self.input)[0])

    def _product(
        self, x: tf.Tensor, kernel: Kernel, read: np.ndarray, written: np.ndarray, size: tf.Tensor
    ) -> tf.Tensor:
        values = self._constant(kernel, x.dtype)
        return scatter_sum(tf.gather(x, read) * values[:, tf.newaxis], tf.constant(written), size)


@register_linear_map("SparseTensorDenseMatMul")
def sparse_map(op: tf.Operation, trace: Trace) -> LinearMap | None:
    """A product with a constant sparse matrix from the left."""
    indices, values = op.inputs[0], op.inputs[1]
    if not (trace.is_constant(indices) and trace.is_constant(values)) or op.get_attr("adjoint_b"):
        return None
    positions = trace.value(indices)
    positions = positions[:, ::-1] if op.get_attr("adjoint_a") else positions
    return SparseMap(op, positions, Kernel(trace.value(values), tensor=values), trace)


@register("SparseTensorDenseMatMul")
def sparse_product(op: tf.Operation, relevances: list[Relevance | None], walk: "Walk") -> None:
    """Y = A B with A's values, its positions, or both from an input: as a product of two signals.

    R_B = B * (A^T c) / n, and an edge e from j to i has R_e = v_e sum_f c_if b_jf / n.
    """
    relevance = relevances[0]
    if relevance is None:
        return
    indices, values, _, b = op.inputs
    if op.get_attr("adjoint_b"):
        walk.refuse(op, "Its dense factor is transposed: transpose it before.")
    first, second = (1, 0) if op.get_attr("adjoint_a") else (0, 1)
    written, read = indices[:, first], indices[:, second]
    positions = [p for p in takers(op, walk, (1, 3)) if p in (1, 3)]
    share = share_product(op, relevance, len(positions), walk)
    at_edges = tf.gather(share, written)  # (edges, features)
    if 3 in positions:
        g = scatter_sum(at_edges * widen(values)[:, tf.newaxis], read, tf.shape(b)[0])
        walk.send(b, Relevance(b, gradient=g))
    if 1 in positions:
        g = tf.reduce_sum(at_edges * tf.gather(widen(b), read), axis=1)
        walk.send(values, Relevance(values, gradient=g))
