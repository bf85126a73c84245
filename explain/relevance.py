"""Relevance on its way down, in one of two forms.

For a tensor t with relevance R, the *gradient form* g has R = t * g (Shrikumar et al. 2017; Montavon et al. 2019 write
it as c_i). A transposed linear map yields g; reshapes, max pooling and products with constants pass g on without a
division; an activation's identity rule needs R. Converting g to R is one product, so the form is kept until a step
asks for the other.
"""

from dataclasses import dataclass, replace
from typing import Protocol

import tensorflow as tf


class Quotient(Protocol):
    """Computes R / (t + epsilon s(t)) / count for a tensor t with relevance R."""

    def __call__(self, epsilon: float, *, non_negative: bool, count: float) -> tf.Tensor:
        """See `quotient` for the arguments."""


@dataclass(frozen=True)
class Relevance:
    """Relevance of one tensor.

    Args:
        tensor: The tensor t that the relevance belongs to.
        relevance: R, in t's shape, or None while only g is known.
        gradient: g, in t's shape or in one that broadcasts to it, or None. Operations get it in t's shape.
        rectified: A tensor that is t where R is not zero, and never negative; the output of a ReLU on t. Spares the
            sign of a denominator.
        quotient: Computes R / (t + epsilon s(t)) at less cost than from R or g: below max pooling, on the coarse grid;
            below a constant factor, without a product. What isn't used is pruned from the graph.
    """

    tensor: tf.Tensor
    relevance: tf.Tensor | None = None
    gradient: tf.Tensor | None = None
    rectified: tf.Tensor | None = None
    quotient: Quotient | None = None

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


def scaled(product: tf.Tensor, gradient: tf.Tensor, tensor: tf.Tensor, factor: float) -> Relevance:
    """Relevance of a tensor t from the gradient form of that of y = factor * t.

    The quotient is computed from y, and the stabiliser scaled with it: no pass reads t, so that a runtime may compute
    the factor along with t, as part of a matrix product.

    Args:
        product: y.
        gradient: The gradient form of its relevance.
        tensor: t.
        factor: The factor, not zero.
    """
    y = widen(product)

    def from_product(epsilon: float, *, non_negative: bool, count: float) -> tf.Tensor:
        del non_negative
        return damped(gradient, y, epsilon * abs(factor), count / factor)

    return Relevance(tensor, gradient=gradient * tf.constant(factor, gradient.dtype), quotient=from_product)


def in_full(relevance: Relevance) -> Relevance:
    """The same relevance with its gradient in the tensor's shape: what comes from a mean has axes of length 1."""
    g, tensor = relevance.gradient, relevance.tensor
    if g is None or g.shape.rank is None or tensor.shape.rank is None:
        return relevance
    sizes = zip(g.shape.as_list(), tensor.shape.as_list(), strict=True)
    if all(have != 1 or want == 1 for have, want in sizes):
        return relevance
    return replace(relevance, gradient=tf.broadcast_to(g, tf.shape(tensor)))


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
    # Not a `tf.where` of two numbers: ONNX Runtime takes several times as long for that.
    return 2 * positive * tf.cast(z >= 0, z.dtype) - positive


def quotient(
    relevance: Relevance, z: tf.Tensor, epsilon: float, *, non_negative: bool = False, count: float = 1.0
) -> tf.Tensor:
    """c = R / (z + epsilon * s(z)) / count, the step that all rules share.

    Args:
        relevance: Relevance of the layer's output.
        z: The denominator, in the shape of R.
        epsilon: Stabiliser; 0 is taken for LRP-0 with 0/0 = 0.
        non_negative: z is known not to be negative.
        count: Among how many factors of a product R is shared.
    """
    if epsilon > 0.0 and relevance.quotient is not None and _same(z, relevance.tensor, relevance.rectified):
        return relevance.quotient(epsilon, non_negative=non_negative, count=count)
    if epsilon > 0.0 and relevance.gradient is not None and _same(z, relevance.tensor):
        return damped(relevance.gradient, z, epsilon, count)
    r = relevance.value()
    c = tf.math.divide_no_nan(r, z) if epsilon == 0.0 else r / (z + stabilizer(z, epsilon, non_negative=non_negative))
    return c if count == 1.0 else c / count


def damped(gradient: tf.Tensor, z: tf.Tensor, epsilon: float, count: float = 1.0) -> tf.Tensor:
    """z g / (z + epsilon s(z)) / count as g (1 - epsilon / (|z| + epsilon)) / count: no sign, no selection.

    At z = 0 it is zero; where z is infinite (a mask of scores), g / count. Its derivative is finite everywhere, for
    those who take gradients through a bundle.
    """
    return gradient * (1 / count - (epsilon / count) / (tf.abs(z) + epsilon))


def _same(z: tf.Tensor, *tensors: tf.Tensor | None) -> bool:
    """z is one of the tensors, widened or not."""
    unwidened = z.op.inputs[0] if z.op.type == "Cast" else z
    return any(z is tensor or unwidened is tensor for tensor in tensors)
