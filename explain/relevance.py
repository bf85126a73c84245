"""Relevance on its way down, in one of two forms.

For a tensor t with relevance R, the *gradient form* g has R = t * g (Shrikumar et al. 2017; Montavon et al. 2019 write
it as c_i). A transposed linear map yields g; reshapes, max pooling and products with constants pass g on without a
division; an activation's identity rule needs R. Converting g to R is one product, so the form is kept until a step
asks for the other.
"""

from collections.abc import Callable
from dataclasses import dataclass

import tensorflow as tf


@dataclass(frozen=True)
class Relevance:
    """Relevance of one tensor.

    Args:
        tensor: The tensor t that the relevance belongs to.
        relevance: R, in t's shape, or None while only g is known.
        gradient: g, in t's shape, or None.
        rectified: A tensor that is t where R is not zero, and never negative; the output of a ReLU on t. Spares the
            sign of a denominator.
        quotient: Computes R / (t + epsilon) for an epsilon where t is rectified, at less cost than from R: below max
            pooling, on the coarse grid. What isn't used is pruned from the graph.
    """

    tensor: tf.Tensor
    relevance: tf.Tensor | None = None
    gradient: tf.Tensor | None = None
    rectified: tf.Tensor | None = None
    quotient: Callable[[float], tf.Tensor] | None = None

    def value(self) -> tf.Tensor:
        """R itself."""
        if self.relevance is not None:
            return self.relevance
        return widen(self.tensor) * self.gradient


def in_dtype_of(relevance: Relevance) -> Relevance:
    """The same relevance in the dtype that its tensor's is computed in; resizing an image changes it, for one."""
    dtype = widen_dtype(relevance.tensor.dtype)
    carried = [part for part in (relevance.relevance, relevance.gradient) if part is not None]
    if all(part.dtype == dtype for part in carried):
        return relevance
    cast = [None if part is None else tf.cast(part, dtype) for part in (relevance.relevance, relevance.gradient)]
    return Relevance(relevance.tensor, *cast)


def accumulate(first: Relevance, second: Relevance) -> Relevance:
    """Relevance that arrives at one tensor over two ways adds up, in either form."""
    if first.gradient is not None and second.gradient is not None:
        return Relevance(first.tensor, gradient=first.gradient + second.gradient)
    return Relevance(first.tensor, relevance=first.value() + second.value())


def widen(tensor: tf.Tensor) -> tf.Tensor:
    """Half precision can't hold a stabiliser of 1e-6: the relevance pass computes in float32 or wider."""
    dtype = widen_dtype(tensor.dtype)
    return tensor if tensor.dtype == dtype else tf.cast(tensor, dtype)


def widen_dtype(dtype: tf.DType) -> tf.DType:
    """The dtype that relevance of a tensor of this dtype is computed in."""
    return dtype if dtype.is_floating and dtype.size >= tf.float32.size else tf.float32


def stabilizer(z: tf.Tensor, epsilon: float, *, non_negative: bool = False) -> tf.Tensor:
    """epsilon * s(z) with s(0) = +1 (`tf.sign(0)` is 0 and would leave 0/0).

    Args:
        z: Denominator, any shape.
        epsilon: Positive stabiliser, in the units of z.
        non_negative: z is known not to be negative.

    Returns:
        A tensor that broadcasts to z's shape.
    """
    # One element, not a scalar: tf2onnx 1.17 fails to move a transposition past the sum with a scalar.
    positive = tf.constant([epsilon] if z.shape.rank != 0 else epsilon, z.dtype)
    if non_negative:
        return positive
    return tf.where(z >= 0, positive, -positive)


def quotient(relevance: Relevance, z: tf.Tensor, epsilon: float, *, non_negative: bool = False) -> tf.Tensor:
    """c = R / (z + epsilon * s(z)), the step that all rules share.

    Args:
        relevance: Relevance of the layer's output.
        z: The denominator, in the shape of R.
        epsilon: Stabiliser; 0 is taken for LRP-0 with 0/0 = 0.
        non_negative: z is known not to be negative.
    """
    if epsilon == 0.0:
        return tf.math.divide_no_nan(relevance.value(), z)
    return relevance.value() / (z + stabilizer(z, epsilon, non_negative=non_negative))
