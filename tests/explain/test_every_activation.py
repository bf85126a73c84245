"""Every activation of Keras, exported: the engines explain each, with an input of its own, as float64 does."""

import keras
import numpy as np
import pytest
from keras import layers

from tests.explain.exporting import check_engines
from tests.explain.running import double, randomized, signal

NAMES = sorted(name for name, item in vars(keras.activations).items() if callable(item) and name == item.__name__)
NAMES = [name for name in NAMES if name not in {"serialize", "deserialize", "get"}]
ALONE = {"glu": keras.activations.glu}  # a layer of it would have the wrong shape
OTHERS = {"threshold": lambda x: keras.activations.threshold(x, 0.1, 0.0)}


def model_of_all():
    """A sum of scores, one for each activation."""
    inputs = [keras.Input((5,), name=f"of_{name}", dtype=keras.config.dtype_policy().variable_dtype) for name in NAMES]
    hidden = [layers.Dense(6)(x) for x in inputs]
    functions = [ALONE.get(name) or layers.Activation(OTHERS.get(name, name)) for name in NAMES]
    activated = [function(h) for function, h in zip(functions, hidden, strict=True)]
    return keras.Model(inputs, layers.Add()([layers.Dense(2)(y) for y in activated]))


@pytest.mark.slow
def test_every_activation_is_explained_by_the_engines_as_in_float64(tmp_path):
    with double():
        reference = randomized(model_of_all())
    reference.set_weights([np.float64(np.float32(3 * value)) for value in reference.get_weights()])
    model = model_of_all()
    model.set_weights(reference.get_weights())
    arrays = {f"of_{name}": np.float32(signal(3, 5, seed=seed)) for seed, name in enumerate(NAMES)}
    check_engines(reference, model, arrays, tmp_path, target=1, least=1e-3)
