"""A model that leaves sizes open explains as it does where they are given."""

import numpy as np
import pytest
import tensorflow as tf
from keras import layers

from explain import build_explainer
from tests.explain.running import call, functional, signal, worst

CONVOLUTIONS = {
    "causal, dilated": (lambda: layers.Conv1D(4, 2, padding="causal", dilation_rate=2), (9, 3)),
    "valid, dilated": (lambda: layers.Conv1D(4, 3, dilation_rate=2), (9, 3)),
    "same, dilated": (lambda: layers.Conv1D(4, 3, padding="same", dilation_rate=3), (9, 3)),
    "valid, dilated image": (lambda: layers.Conv2D(4, 3, dilation_rate=2), (7, 8, 3)),
    "same, dilated image": (lambda: layers.Conv2D(4, (3, 2), padding="same", dilation_rate=2), (7, 8, 3)),
}


@pytest.mark.parametrize("name", CONVOLUTIONS)
def test_a_dilated_convolution_of_any_size_is_explained_as_one_of_a_given_size(name):
    make, shape = CONVOLUTIONS[name]
    pool = {2: layers.GlobalAveragePooling1D, 3: layers.GlobalAveragePooling2D}[len(shape)]
    model = functional(lambda x: layers.Dense(2)(pool()(make()(x))), (*[None] * (len(shape) - 1), shape[-1]))
    explainer, values = build_explainer(model, composite="epsilon"), signal(2, *shape)
    expected = call(explainer, {"x0": values}, 1)["relevance"]  # traced for just this size
    specs = {"x0": tf.TensorSpec((None,) * len(shape[:-1]) + (None, shape[-1]), tf.float64)}
    function = tf.function(explainer.explain, autograph=False)
    dynamic = function.get_concrete_function(specs, tf.TensorSpec((None,), tf.int32))
    found = dynamic({"x0": tf.constant(values)}, tf.constant([1, 1]))["relevance"].numpy()
    assert worst(found, expected) < 1e-9
    assert np.abs(expected).max() > 1e-3
