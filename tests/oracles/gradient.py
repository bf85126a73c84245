"""The second oracle: input times the gradient of the network with its gates held fixed, by TensorFlow's own autodiff.

For epsilon -> 0 the epsilon rule with absorbing biases is just that (Shrikumar et al. 2017, Ancona et al. 2018): an
activation becomes x * stop_gradient(f(x) / x), so that relevance passes it whole, and max pooling a maximum over
patches, whose gradient TensorFlow shares equally among ties.
"""

import keras
import tensorflow as tf

# Below the first layer with weights relevance passes whole: the product is taken behind these.
PREPROCESSING = (keras.layers.Rescaling, keras.layers.Normalization)
PASSED = (keras.layers.Dropout, keras.layers.Flatten, keras.layers.BatchNormalization)
ACTIVATIONS = (keras.layers.ReLU, keras.layers.LeakyReLU, keras.layers.Activation)


def input_times_gradient(model, x, target):
    """Relevance of the only input of a model that is a chain of layers.

    Args:
        model: Sequential or functional, without branches; ends in a softmax or in scores.
        x: Input batch.
        target: Class of each example; -1 is the largest.

    Returns:
        Relevance in x's shape, float64.
    """
    layers = [layer for layer in model.layers if not isinstance(layer, keras.layers.InputLayer)]
    x = tf.convert_to_tensor(x, tf.float64)
    while isinstance(layers[0], PREPROCESSING):
        x = layers.pop(0)(x)
    with tf.GradientTape() as tape:
        tape.watch(x)
        y = x
        for layer in layers:
            y = _detached(layer, y)
        index = tf.where(target == -1, tf.argmax(y, axis=-1), target)
        score = tf.gather(y, index, axis=-1, batch_dims=1)
    return (x * tape.gradient(score, x)).numpy()


def _detached(layer, x):
    if isinstance(layer, keras.layers.Softmax):
        return x
    if isinstance(layer, keras.layers.MaxPooling2D):
        return _max_pooling(layer, x)
    if isinstance(layer, ACTIVATIONS):
        return _gated(layer, x)
    if isinstance(layer, (keras.layers.Dense, keras.layers.Conv2D)):
        y = _linear(layer, x)
        softmax = layer.activation is keras.activations.softmax
        return y if softmax or layer.activation is keras.activations.linear else _gated(layer.activation, y)
    if isinstance(layer, PASSED):
        return layer(x, training=False)
    raise NotImplementedError(f"No gradient oracle for {type(layer).__name__}.")


def _linear(layer, x):
    if isinstance(layer, keras.layers.Dense):
        y = tf.matmul(x, layer.kernel)
    else:
        y = tf.nn.conv2d(x, layer.kernel, layer.strides, layer.padding.upper(), dilations=layer.dilation_rate)
    return y + layer.bias if layer.use_bias else y


def _gated(function, x):
    return x * tf.stop_gradient(tf.math.divide_no_nan(function(x), x))


def _max_pooling(layer, x):
    (height, width), (down, right) = layer.pool_size, layer.strides
    if layer.padding == "same":
        pads = [[0, 0]]
        for size, window, stride in zip(x.shape[1:3], layer.pool_size, layer.strides, strict=True):
            total = max((-(-size // stride) - 1) * stride + window - size, 0)
            pads.append([total // 2, total - total // 2])
        x = tf.pad(x, [*pads, [0, 0]], constant_values=x.dtype.min)
    patches = tf.image.extract_patches(x, [1, height, width, 1], [1, down, right, 1], [1, 1, 1, 1], "VALID")
    return tf.reduce_max(tf.reshape(patches, [*patches.shape[:3], height * width, x.shape[-1]]), axis=3)
