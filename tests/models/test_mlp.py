import numpy as np
import pytest

from models.architecture import ImageTask, LayerOptions
from models.errors import TrainingConfigError
from models.mlp import build_mlp
from tests.models import oracles


def test_mlp_equals_its_equations():
    generator = np.random.default_rng(0)
    model = build_mlp(ImageTask((3, 4, 2), 5, (0.0, 255.0)), LayerOptions(dropout=0.2), units=(7, 6))
    model.set_weights([generator.uniform(-1, 1, value.shape) for value in model.get_weights()])
    image = generator.uniform(0, 255, (3, 3, 4, 2)).astype(np.float32)
    x = image.astype(np.float64).reshape(3, -1) / 255.0
    for name in ("dense1", "dense2"):
        x = oracles.relu(oracles.dense(x, *model.get_layer(name).get_weights()))
    expected = oracles.softmax(oracles.dense(x, *model.get_layer("logits").get_weights()))
    np.testing.assert_allclose(model(image), expected, atol=1e-5)


def test_mlp_has_the_parameters_of_its_description():
    model = build_mlp(ImageTask((8, 8, 1), 10), LayerOptions())
    # 64*512 + 512, 512*512 + 512, 512*10 + 10
    assert model.count_params() == 33_280 + 262_656 + 5_130


def test_dropout_scales_what_it_keeps_while_training_only():
    model = build_mlp(ImageTask((2, 2, 1), 2), LayerOptions(dropout=0.75), units=(64,))
    dropout = model.get_layer("dropout1")
    ones = np.ones((1, 64), np.float32)
    assert set(np.unique(dropout(ones, training=True))) == {0.0, 4.0}  # 1 / (1 - 0.75)
    np.testing.assert_array_equal(dropout(ones, training=False), ones)


def test_units_that_are_no_sizes_are_refused():
    with pytest.raises(
        TrainingConfigError, match=r"`units` must be one or more whole numbers >= 1. Received: units='12'"
    ):
        build_mlp(ImageTask((8, 8, 1), 10), LayerOptions(), units="12")
