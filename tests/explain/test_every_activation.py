"""Every activation of Keras, exported: the engines explain each, with an input of its own, as float64 does."""

import keras
import numpy as np
import pytest
from keras import layers

from explain import build_explainer
from tests.explain.exporting import engines_of
from tests.explain.running import call, double, randomized, signal, worst

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
    expected = call(build_explainer(reference, composite="epsilon"), arrays, target=1)
    engines = engines_of(model, tmp_path, composite="epsilon")
    found = [engine({**arrays, "target": np.ones(3, np.int32)}) for engine in engines]
    for name in (f"relevance_of_{name}" for name in NAMES):
        assert np.abs(expected[name]).max() > 1e-3, name
        for relevances in found:
            assert worst(relevances[name], expected[name]) < 1e-4, name
        assert worst(found[1][name], found[0][name]) < 1e-5, name
