"""Small Keras models of the kinds that strangers bring."""

from collections.abc import Callable

import keras
import numpy as np
from keras import layers


def image_model() -> keras.Model:
    """A convolutional network with batch normalisation whose moving statistics aren't trivial."""
    model = keras.Sequential(
        [
            keras.Input((8, 8, 1), name="image"),
            layers.Rescaling(1 / 16, name="scaling"),
            layers.Conv2D(4, 3, padding="same", name="convolution"),
            layers.BatchNormalization(name="normalization"),
            layers.ReLU(name="relu"),
            layers.MaxPooling2D(name="pooling"),
            layers.Flatten(name="flatten"),
            layers.Dense(3, name="logits"),
            layers.Softmax(name="probabilities"),
        ],
        name="cnn",
    )
    generator = np.random.default_rng(3)
    gamma, beta, mean, variance = (generator.uniform(0.5, 1.5, 4) for _ in range(4))
    model.get_layer("normalization").set_weights([gamma, beta - 1, mean - 1, variance])
    return model


def unnamed_sequential() -> keras.Model:
    """Nothing has a name of the author's."""
    return keras.Sequential(
        [keras.Input((5,)), layers.Dense(4, activation="relu"), layers.Dense(3, activation="softmax")]
    )


def two_inputs_two_outputs(scan_name: str = "scan-1") -> keras.Model:
    """Functional, inputs given as a dict, outputs of different sizes."""
    age, scan = keras.Input((4,), name="age"), keras.Input((6, 6, 2), name=scan_name)
    features = layers.Concatenate()([age, layers.Flatten()(layers.Conv2D(2, 3, activation="relu")(scan))])
    kind = layers.Dense(3, activation="softmax", name="kind")(features)
    risk = layers.Dense(1, activation="sigmoid", name="risk")(features)
    return keras.Model({"age": age, scan_name: scan}, [kind, risk])


def bytes_model() -> keras.Model:
    """Takes pixels as they come."""
    return keras.Sequential(
        [
            keras.Input((6, 6, 3), dtype="uint8", name="pixels"),
            layers.Rescaling(1 / 255),
            layers.Flatten(),
            layers.Dense(2, name="scores"),
        ]
    )


def tokens_model() -> keras.Model:
    """Takes token ids of a small vocabulary, in sequences of any length."""
    return keras.Sequential(
        [
            keras.Input((None,), dtype="int32", name="tokens"),
            layers.Embedding(7, 4),
            layers.GlobalAveragePooling1D(),
            layers.Dense(2, name="scores"),
        ]
    )


def gelu_model() -> keras.Model:
    """Exact GELU and CELU, which tf2onnx 1.17 leaves unconverted."""
    return keras.Sequential([keras.Input((5,)), layers.Dense(4, activation="gelu"), layers.Dense(3, activation="celu")])


def buckets_model() -> keras.Model:
    """Discretization, which tf2onnx 1.17 leaves unconverted."""
    return keras.Sequential([keras.Input((5,)), layers.Discretization(bin_boundaries=[-1.0, 0.0, 0.5])])


def integer_buckets_model() -> keras.Model:
    """Boundaries between whole numbers."""
    return keras.Sequential([keras.Input((5,), dtype="int32"), layers.Discretization(bin_boundaries=[1.5, 3.0, 7.5])])


def captured_constants_model() -> keras.Model:
    """A Normalization with its statistics as arguments: tf2onnx makes them required inputs of the graph."""
    return keras.Sequential([keras.Input((3,)), layers.Normalization(mean=[1.0, 2.0, 3.0], variance=[1.0, 4.0, 9.0])])


def recurrent_model() -> keras.Model:
    """A GRU, which becomes a loop in ONNX."""
    return keras.Sequential([keras.Input((None, 3), name="series"), layers.GRU(4), layers.Dense(2)])


def strided_model() -> keras.Model:
    """A convolution that pads as much as its stride leaves over, in sequences of any length."""
    return keras.Sequential(
        [
            keras.Input((None, 2), name="series"),
            layers.Conv1D(4, 3, strides=2, padding="same"),
            layers.GlobalAveragePooling1D(),
            layers.Dense(2, name="scores"),
        ]
    )


def lookup_model() -> keras.Model:
    """A lookup table: nothing that ONNX has."""
    return keras.Sequential(
        [keras.Input((1,), dtype="string", name="word"), layers.StringLookup(vocabulary=["a", "b"])]
    )


def cumulative_model() -> keras.Model:
    """An operation that relevance has no rule for."""
    inputs = keras.Input((4,), name="x")
    return keras.Model(inputs, layers.Dense(2)(keras.ops.cumprod(inputs, axis=1)))


def logarithm_model() -> keras.Model:
    """NaN for every negative input."""
    inputs = keras.Input((4,), name="x")
    return keras.Model(inputs, keras.ops.log(inputs))


def doubled_softmax_model() -> keras.Model:
    """A softmax with something after it, which leaves no score to explain."""
    inputs = keras.Input((4,), name="x")
    return keras.Model(inputs, 2.0 * layers.Softmax(name="softmax")(layers.Dense(3)(inputs)))


def argmax_model() -> keras.Model:
    """Returns the class, not scores."""
    inputs = keras.Input((4,), name="x")
    return keras.Model(inputs, keras.ops.argmax(layers.Dense(3)(inputs), axis=-1))


def overflowing_model() -> keras.Model:
    """Scores beyond float32 for inputs beyond 1; the sigmoid of them is a number all the same."""
    inputs = keras.Input((2,), name="x")
    dense = layers.Dense(1, activation="sigmoid", use_bias=False)
    model = keras.Model(inputs, dense(inputs))
    dense.set_weights([np.full((2, 1), 1e30)])
    return model


def half_precision_model() -> keras.Model:
    """As training in mixed precision leaves it."""
    policy = "mixed_float16"
    return keras.Sequential(
        [keras.Input((5,), name="x"), layers.Dense(4, activation="relu", dtype=policy), layers.Dense(3, dtype=policy)]
    )


@keras.saving.register_keras_serializable(package="whyserve_tests")
class Subclassed(keras.Model):
    """A subclassed model: it doesn't know its inputs, only the shapes that it was built with."""

    def __init__(self, **kwargs: object) -> None:
        super().__init__(**kwargs)
        self.hidden = layers.Dense(4, activation="relu")
        self.scores = layers.Dense(3, activation="softmax")

    def call(self, features: object, training: bool = False) -> object:
        return self.scores(self.hidden(features))


def subclassed_model() -> keras.Model:
    """Built by a call on data."""
    model = Subclassed(name="subclassed")
    model(np.zeros((2, 5), np.float32))
    return model


EXPLAINED: dict[str, Callable[[], keras.Model]] = {
    "image": image_model,
    "unnamed": unnamed_sequential,
    "bytes": bytes_model,
    "half_precision": half_precision_model,
    "subclassed": subclassed_model,
}
PREDICTED: dict[str, Callable[[], keras.Model]] = {
    "two_inputs": two_inputs_two_outputs,
    "tokens": tokens_model,
    "gelu": gelu_model,
    "buckets": buckets_model,
    "integer_buckets": integer_buckets_model,
    "captured_constants": captured_constants_model,
    "recurrent": recurrent_model,
}
