import numpy as np

from models.architecture import ImageTask, LayerOptions
from models.mlp import build_mlp
from models.training.random_states import read_random_states, restore_random_states


def test_dropout_goes_on_as_if_never_interrupted():
    model = build_mlp(ImageTask((2, 2, 1), 2), LayerOptions(batch_normalization=True), units=(64, 64))
    layers = [model.get_layer("dropout1"), model.get_layer("dropout2")]
    ones = np.ones((1, 64), np.float32)
    states = read_random_states(model)
    expected = [layer(ones, training=True) for layer in layers]
    assert not np.array_equal(layers[0](ones, training=True), expected[0])
    restore_random_states(model, states)
    for layer, mask in zip(layers, expected, strict=True):
        np.testing.assert_array_equal(layer(ones, training=True), mask)
