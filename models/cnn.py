"""The convolutional network of Krizhevsky's line: convolutions with max pooling, one dense layer, dropout."""

from collections.abc import Sequence
from typing import Any

from models.architecture import Architecture, ImageTask, LayerOptions, check_sizes

FILTERS = (32, 64)
UNITS = 512


def build_cnn(
    task: ImageTask, layers: LayerOptions, *, filters: Sequence[int] = FILTERS, units: int = UNITS, kernel_size: int = 3
) -> Any:
    """A convolutional network: for each entry of `filters` a convolution, ReLU and 2x2 max pooling, then a dense layer.

    The first choice for small images: it needs little data and trains in seconds to minutes on a CPU. Convolution and
    pooling pad ("same"), so that any image size works down to one pixel and an odd last row is kept.

    References: LeCun et al. 1998, "Gradient-based learning applied to document recognition"; Krizhevsky, Sutskever and
    Hinton 2012, "ImageNet classification with deep convolutional neural networks" (ReLU, max pooling, dropout 0.5 on
    the dense layers). Differs from the latter: two small convolutions instead of five, one dense layer instead of two,
    no local response normalisation, pooling windows that do not overlap.

    Args:
        task: Image shape, classes and pixel range.
        layers: Initialisation, dropout, batch normalisation and regularisation.
        filters: Channels of each convolution.
        units: Width of the dense layer.
        kernel_size: Height and width of the kernels, in pixels.

    Returns:
        An untrained `keras.Model` from `image` `(batch, height, width, channels) float32` to `probabilities`
        `(batch, num_classes) float32`.

    Raises:
        TrainingConfigError: A size that is not a whole number >= 1.
    """
    import keras

    from models import image_layers

    (width,) = check_sizes("units", [units])
    (window,) = check_sizes("kernel_size", [kernel_size])
    image, x = image_layers.image_input(task)
    for index, channels in enumerate(check_sizes("filters", filters), start=1):
        convolution = keras.layers.Conv2D(
            channels, window, padding="same", name=f"convolution{index}", **image_layers.kernel_options(layers)
        )
        x = image_layers.with_activation(convolution, x, layers)
        x = keras.layers.MaxPooling2D(2, padding="same", name=f"pooling{index}")(
            x
        )  # (batch, height/2, width/2, channels)
    x = keras.layers.Flatten(name="flatten")(x)
    dense = keras.layers.Dense(width, name="dense1", **image_layers.kernel_options(layers))
    x = image_layers.with_activation(dense, x, layers)
    x = keras.layers.Dropout(layers.dropout, name="dropout1")(x)
    return keras.Model(image, image_layers.probabilities(x, task, layers), name="cnn")


CNN = Architecture(
    name="cnn",
    summary="Convolutional network of Krizhevsky's line, conv 32 and 64 with pooling, dense 512: small images.",
    build=build_cnn,
    options={"filters": FILTERS, "units": UNITS, "kernel_size": 3},
    dropout=0.5,
    papers=(
        "LeCun, Bottou, Bengio, Haffner 1998, Gradient-based learning applied to document recognition, Proc. IEEE 86",
        "Krizhevsky, Sutskever, Hinton 2012, ImageNet classification with deep convolutional neural networks, NeurIPS",
    ),
)
