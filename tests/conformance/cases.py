"""One entry for each registered architecture: a small model of it in float64, and real images for it.

A registered architecture, rule or engine without an entry here fails `test_entries.py`.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import keras
import numpy as np
from sklearn import datasets

from models.architecture import ImageTask, LayerOptions
from models.registry import architecture
from tests.oracles import gradient
from tests.oracles.from_keras import network_of

SIZE = 8


@dataclass(frozen=True, eq=False)
class Case:
    """A small build of an architecture.

    Args:
        architecture: Its registered name.
        options: What makes it small.
        network: Makes the NumPy oracle of the Keras model.
        gradient: The second oracle, input times gradient with detached gates.
        layers: What the builder is told beside the task.
    """

    architecture: str
    options: dict[str, Any]
    network: Callable[[keras.Model], Any] = network_of
    gradient: Callable[..., np.ndarray] = gradient.input_times_gradient
    layers: LayerOptions = field(default_factory=LayerOptions)

    @property
    def name(self) -> str:
        """For the test's id."""
        return self.architecture + (" normalized" if self.layers.batch_normalization else "")


CASES = (
    Case("mlp", {"units": (24, 16)}),
    Case("mlp", {"units": (24,)}, layers=LayerOptions(batch_normalization=True)),
    Case("cnn", {"filters": (4, 6), "units": 16}),
    Case("cnn", {"filters": (4, 5), "units": 12}, layers=LayerOptions(batch_normalization=True)),
)

# For each registered rule the test that holds it to an oracle of its own; every engine, the test that serves with it.
RULES = dict.fromkeys(
    ("alpha_beta", "epsilon", "flat", "gamma", "w_square", "z_box", "z_plus"),
    "tests/explain/test_rules.py::test_rule_equals_its_equation_for_inputs_of_any_sign",
)
ENGINES = {
    "onnxruntime": "tests/conformance/test_exported.py",
    "tensorflow": "tests/conformance/test_exported.py",
}


@cache
def digits() -> tuple[np.ndarray, np.ndarray]:
    """scikit-learn's handwritten digits: raw pixels `(1797, 8, 8, 1) float32`, 0 to 16, and their classes."""
    found = datasets.load_digits()
    return found.images.astype(np.float32)[..., None], found.target


@cache
def small_model(case: Case) -> keras.Model:
    """The architecture, trained for a moment on real digits: generic weights, statistics of real signals. float32."""
    keras.utils.set_random_seed(0)
    task = ImageTask((SIZE, SIZE, 1), 10, (0.0, 16.0))
    model = architecture(case.architecture).build(task, case.layers, **case.options)
    images, labels = digits()
    model.compile(keras.optimizers.Adam(0.01), "sparse_categorical_crossentropy")
    model.fit(images[:512], labels[:512], batch_size=64, epochs=2, verbose=0)
    return model


@cache
def double_model(case: Case) -> keras.Model:
    """The same weights in float64, and biases that are not zero."""
    single = small_model(case)
    model = keras.models.clone_model(single, clone_function=_in_float64)
    generator = np.random.default_rng(0)
    for target, source in zip(model.weights, single.weights, strict=True):
        values = np.asarray(source, np.float64)
        target.assign(values + 0.1 * generator.normal(size=values.shape) if "bias" in source.path else values)
    return model


def _in_float64(layer: keras.layers.Layer) -> keras.layers.Layer:
    return type(layer).from_config(layer.get_config() | {"dtype": "float64"})


def samples(count: int) -> np.ndarray:
    """Held-out images. Real ones: LRP jumps where a pre-activation crosses zero, and generic samples keep away."""
    return digits()[0][-count:]
