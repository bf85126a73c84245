"""The layers that image classifiers have in common: the way in, a linear layer with its ReLU, the way out."""

from typing import Any

import keras

from models.architecture import ImageTask, LayerOptions

INPUT_NAME = "image"
LOGITS_NAME = "logits"
OUTPUT_NAME = "probabilities"


def image_input(task: ImageTask) -> tuple[Any, Any]:
    """The input `image`, raw pixels `(batch, height, width, channels) float32`, and the same mapped to [0, 1]."""
    low, high = task.pixel_range
    image = keras.Input(task.image_shape, name=INPUT_NAME, dtype="float32")
    scale = 1.0 / (high - low)
    return image, keras.layers.Rescaling(scale, offset=0.0 - low * scale, name="scaling")(image)


def with_activation(layer: Any, x: Any, layers: LayerOptions) -> Any:
    """Applies a linear layer, batch normalisation if it is asked for, and ReLU.

    Before batch normalisation a bias is without effect (Ioffe and Szegedy 2015, section 3.2): the caller leaves it out
    with `use_bias=not layers.batch_normalization`.
    """
    x = layer(x)
    if layers.batch_normalization:
        x = keras.layers.BatchNormalization(name=f"{layer.name}_normalization")(x)
    return keras.layers.ReLU(name=f"{layer.name}_relu")(x)


def kernel_options(layers: LayerOptions) -> dict[str, Any]:
    """The keyword arguments that a layer before a ReLU takes from `layers`."""
    return {
        "kernel_initializer": layers.initializer,
        "kernel_regularizer": regularizer(layers),
        "use_bias": not layers.batch_normalization,
    }


def regularizer(layers: LayerOptions) -> Any:
    """The kernel regulariser, or None where both factors are 0."""
    return keras.regularizers.L1L2(layers.l1, layers.l2) if layers.l1 or layers.l2 else None


def probabilities(x: Any, task: ImageTask, layers: LayerOptions) -> Any:
    """The Dense layer `logits` and the Softmax layer `probabilities`, `(batch, num_classes) float32`.

    Both compute in float32 under mixed precision too: a float16 softmax loses small probabilities. The logits have no
    ReLU behind them, so that Glorot's initialisation fits whatever the other layers use.
    """
    logits = keras.layers.Dense(
        task.num_classes,
        kernel_initializer="glorot_uniform",
        kernel_regularizer=regularizer(layers),
        dtype="float32",
        name=LOGITS_NAME,
    )(x)
    return keras.layers.Softmax(dtype="float32", name=OUTPUT_NAME)(logits)
