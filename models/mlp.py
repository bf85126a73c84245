"""The multilayer perceptron: dense layers with ReLU and dropout."""

from collections.abc import Sequence
from typing import Any

from models.architecture import Architecture, ImageTask, LayerOptions, check_sizes

UNITS = (512, 512)


def build_mlp(task: ImageTask, layers: LayerOptions, *, units: Sequence[int] = UNITS) -> Any:
    """A multilayer perceptron on flattened pixels.

    The baseline of an image task: it knows nothing of neighbourhood, so that a convolutional network has to beat it.
    Each hidden layer is `relu(x @ kernel + bias)` followed by dropout.

    References: Rumelhart, Hinton and Williams 1986, "Learning representations by back-propagating errors"; Srivastava
    et al. 2014, "Dropout", whose MNIST networks have ReLU layers with dropout.

    Args:
        task: Image shape, classes and pixel range.
        layers: Initialisation, dropout, batch normalisation and regularisation.
        units: Width of each hidden layer.

    Returns:
        An untrained `keras.Model` from `image` `(batch, height, width, channels) float32` to `probabilities`
        `(batch, num_classes) float32`.

    Raises:
        TrainingConfigError: `units` is not one or more whole numbers >= 1.
    """
    import keras

    from models import image_layers

    image, x = image_layers.image_input(task)
    x = keras.layers.Flatten(name="flatten")(x)
    for index, width in enumerate(check_sizes("units", units), start=1):
        dense = keras.layers.Dense(width, name=f"dense{index}", **image_layers.kernel_options(layers))
        x = image_layers.with_activation(dense, x, layers)
        x = keras.layers.Dropout(layers.dropout, name=f"dropout{index}")(x)
    return keras.Model(image, image_layers.probabilities(x, task, layers), name="mlp")


MLP = Architecture(
    name="mlp",
    summary="Multilayer perceptron, dense 512-512 with ReLU and dropout: the baseline of an image task.",
    build=build_mlp,
    options={"units": UNITS},
    dropout=0.2,
    papers=(
        "Rumelhart, Hinton, Williams 1986, Learning representations by back-propagating errors, Nature 323",
        "Srivastava et al. 2014, Dropout: a simple way to prevent neural networks from overfitting, JMLR 15",
    ),
)
