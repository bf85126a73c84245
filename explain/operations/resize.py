"""Resizing of images: each output pixel is a weighted mean of input pixels, with weights that factor along the axes."""

from typing import TYPE_CHECKING

import numpy as np
import tensorflow as tf

from explain.constants import run_operation
from explain.operations.registry import register
from explain.relevance import Relevance, quotient, stabilizer, widen

if TYPE_CHECKING:
    from explain.propagation import Walk


@register("ResizeBilinear", "ResizeNearestNeighbor", "ResizeBicubic", "ResizeArea", "ScaleAndTranslate")
def resize(op: tf.Operation, relevances: list[Relevance | None], walk: "Walk") -> None:
    """R_x = x * (M_h^T c M_w) with c = R / (y + epsilon s(y)), M the weights along height and width.

    Below all weights a mean is preprocessing, as a change of scale is: R_x = M_h^T R M_w, whatever zero stands for in
    the image. A quotient of the two would hand on rounding alone where pixels of both signs cancel.
    """
    relevance = relevances[0]
    if relevance is None:
        return
    x = op.inputs[0]
    height, width = x.shape[1], x.shape[2]
    arguments = list(op.inputs[1:])
    if height is None or width is None or not all(walk.trace.is_constant(tensor) for tensor in arguments):
        walk.refuse(op, "It resizes images whose size isn't fixed.")
    with tf.init_scope():
        constants = [tf.constant(walk.trace.value(tensor)) for tensor in arguments]
        rows = _weights(op, constants, height, width, along_height=True)
        columns = _weights(op, constants, height, width, along_height=False)
    if walk.is_raw(x) and _are_means(rows) and _are_means(columns):
        walk.send(x, Relevance(x, relevance=_moved_back(relevance.value(), rows, columns)))
        return
    y = widen(op.outputs[0])
    c = quotient(relevance, y, walk.norm_epsilon)
    walk.absorb(op, stabilizer=c * stabilizer(y, walk.norm_epsilon))
    walk.send(x, Relevance(x, gradient=_moved_back(c, rows, columns)))


def _moved_back(values: tf.Tensor, rows: np.ndarray, columns: np.ndarray) -> tf.Tensor:
    """M_h^T v M_w for each channel."""
    values = tf.einsum("bhwc,hi->biwc", values, tf.constant(rows, values.dtype))
    return tf.einsum("biwc,wj->bijc", values, tf.constant(columns, values.dtype))


def _are_means(weights: np.ndarray) -> bool:
    """The weights of each result sum to one, but for their rounding to float32."""
    return bool(np.allclose(weights.sum(axis=1), 1.0, rtol=0.0, atol=1e-6))


def _weights(
    op: tf.Operation, arguments: list[tf.Tensor], height: int, width: int, *, along_height: bool
) -> np.ndarray:
    """The weights along one axis, `(out, in)`, read off the operation: images that are one in one row or column."""
    size = height if along_height else width
    basis = np.eye(size, dtype=np.float32)
    lines = basis[:, :, None, None] if along_height else basis[:, None, :, None]
    images = np.broadcast_to(lines, (size, height, width, 1)).astype(op.inputs[0].dtype.as_numpy_dtype)
    resized = run_operation(op, [tf.constant(images), *arguments])[0].numpy()
    return np.asarray(resized[:, :, 0, 0] if along_height else resized[:, 0, :, 0], np.float64).T
