import keras
import numpy as np
import pytest
from keras import layers

from tests.whyserve.coverage.models import small_network
from whyserve.coverage.images import photo_crops
from whyserve.coverage.weights import make_generic


@pytest.fixture(scope="module")
def images():
    return photo_crops(32, 8, seed=1) / np.float32(127.5) - 1


@pytest.fixture(scope="module")
def model(images):
    keras.utils.set_random_seed(5)
    model = small_network()
    make_generic(model, images, seed=3)
    return model


def test_no_weight_is_what_an_initialiser_left_constant(model):
    for weight in model.weights:
        values = np.asarray(weight)
        if values.dtype.kind == "f":
            assert np.unique(values).size == values.size, weight.path


def test_batch_normalization_has_the_statistics_of_the_images(model, images):
    layer = model.get_layer("normalization")
    convolved = keras.Model(model.inputs[0], model.get_layer("convolution").output).predict(images, verbose=0)
    np.testing.assert_allclose(layer.moving_mean, convolved.mean(axis=(0, 1, 2)), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(layer.moving_variance, convolved.var(axis=(0, 1, 2)), rtol=1e-4)


def test_the_scores_have_a_deviation_of_one_and_the_activation_is_what_it_was(model, images):
    probabilities = model.predict(images, verbose=0)
    layer = model.get_layer("probabilities")
    assert layer.activation is keras.activations.softmax
    features = keras.Model(model.inputs[0], layer.input).predict(images, verbose=0)
    scores = features @ np.asarray(layer.kernel)
    assert 0.8 < scores.std() < 1.2
    assert probabilities.max() < 0.9


def test_momentum_and_dropout_are_what_they_were(model):
    assert model.get_layer("normalization").momentum == 0.99
    assert model.get_layer("dropout").rate == 0.5


def test_the_same_seed_draws_the_same_weights(model, images):
    keras.utils.set_random_seed(5)
    other = small_network()
    make_generic(other, images, seed=3)
    for a, b in zip(model.get_weights(), other.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


def test_scales_that_hide_a_block_are_drawn_anew_and_counters_are_kept():
    model = keras.Sequential(
        [keras.Input((8, 8, 3)), layers.Normalization(), layers.LayerNormalization(), layers.Dense(2)]
    )
    scale = model.layers[1].gamma
    scale.assign(np.full(3, 1e-6))
    make_generic(model, np.ones((2, 8, 8, 3), np.float32), seed=3)
    assert (np.asarray(scale) >= 0.5).all()
    assert int(model.layers[0].count) == 0
