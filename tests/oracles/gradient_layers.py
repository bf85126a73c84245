"""Layers with their gates held fixed, for `tests.oracles.gradient`."""

import keras
import tensorflow as tf
from keras import layers

# A linear map with an activation after it.
LINEAR = frozenset(
    {
        layers.Dense, layers.EinsumDense, layers.Conv1D, layers.Conv2D, layers.Conv3D, layers.DepthwiseConv1D,
        layers.DepthwiseConv2D, layers.SeparableConv1D, layers.SeparableConv2D, layers.Conv1DTranspose,
        layers.Conv2DTranspose, layers.Conv3DTranspose,
    }
)  # fmt: skip
# Linear or affine, or the larger of two: their gradient is what is wanted as it is. Those of tests go by their names.
PLAIN = frozenset(
    {
        layers.Add, layers.Average, layers.AveragePooling1D, layers.AveragePooling2D, layers.BatchNormalization,
        layers.Concatenate,
        layers.Dropout, layers.Flatten, layers.GlobalAveragePooling2D, layers.Maximum, layers.Normalization,
        layers.Rescaling, layers.Subtract, "Gathered", "GetItem", "Messages", "Positions",
    }
)  # fmt: skip


def gated(function, x):
    """f(x), with the derivative f(x) / x: relevance passes whole."""
    return x * tf.stop_gradient(tf.math.divide_no_nan(function(x), x))


def linear_part(layer, x):
    """What the layer computes before its activation."""
    activation, layer.activation = layer.activation, keras.activations.linear
    try:
        return layer.call(x)
    finally:
        layer.activation = activation


def normalized(layer, x):
    """Layer or RMS normalization with its divisor held fixed."""
    scale = tf.convert_to_tensor(layer.gamma if isinstance(layer, layers.LayerNormalization) else layer.scale)
    shift = 0.0
    if isinstance(layer, layers.LayerNormalization):
        x, shift = x - tf.reduce_mean(x, axis=-1, keepdims=True), tf.convert_to_tensor(layer.beta)
    divisor = tf.sqrt(tf.reduce_mean(x**2, axis=-1, keepdims=True) + layer.epsilon)
    return x / tf.stop_gradient(divisor) * scale + shift


def group_maximum(layer, x):
    """Max pooling as a maximum over patches, whose gradient TensorFlow shares equally among ties."""
    if isinstance(layer, layers.GlobalMaxPooling1D):
        return tf.reduce_max(x, axis=1)
    if isinstance(layer, layers.MaxPooling1D):
        return _patch_maximum(x[:, None], (1, *layer.pool_size), (1, *layer.strides), layer.padding)[:, 0]
    return _patch_maximum(x, layer.pool_size, layer.strides, layer.padding)


def _patch_maximum(x, windows, strides, padding):
    (height, width), (down, right) = windows, strides
    if padding == "same":
        pads = [[0, 0]]
        for size, window, stride in zip(x.shape[1:3], windows, strides, strict=True):
            total = max((-(-size // stride) - 1) * stride + window - size, 0)
            pads.append([total // 2, total - total // 2])
        x = tf.pad(x, [*pads, [0, 0]], constant_values=x.dtype.min)
    patches = tf.image.extract_patches(x, [1, height, width, 1], [1, down, right, 1], [1, 1, 1, 1], "VALID")
    return tf.reduce_max(tf.reshape(patches, [*patches.shape[:3], height * width, x.shape[-1]]), axis=3)
