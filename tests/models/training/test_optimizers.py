import keras
import numpy as np
import pytest

from models.training import TrainingConfig
from models.training.optimizers import build_optimizer, learning_rate

STEPS_PER_EPOCH = 10


def config(**options):
    return TrainingConfig(architecture="cnn", data="digits", epochs=5, **options)


def test_cosine_rises_along_a_line_and_falls_to_zero():
    schedule = learning_rate(config(learning_rate=0.8, warmup_epochs=2), STEPS_PER_EPOCH)
    steps = np.arange(51)
    # 20 steps of warm-up, 30 steps of half a cosine.
    expected = np.where(steps < 20, 0.8 * (steps + 1) / 21, 0.4 * (1 + np.cos(np.pi * (steps - 20) / 30)))
    np.testing.assert_allclose([float(schedule(step)) for step in steps], expected, atol=1e-6)


@pytest.mark.parametrize("warmup_epochs", [0.0, 0.5])
def test_constant_stays_at_the_peak_after_warm_up(warmup_epochs):
    schedule = learning_rate(
        config(learning_rate=0.8, schedule="constant", warmup_epochs=warmup_epochs), STEPS_PER_EPOCH
    )
    rates = [schedule(step) if callable(schedule) else schedule for step in (5, 17, 49)]
    np.testing.assert_allclose(rates, 0.8, rtol=1e-6)
    if warmup_epochs:
        assert float(schedule(0)) == pytest.approx(0.8 / 6)


def test_a_warm_up_longer_than_the_training_is_cut():
    schedule = learning_rate(config(learning_rate=1.0, warmup_epochs=99), STEPS_PER_EPOCH)
    assert float(schedule(48)) == pytest.approx(49 / 50)


@pytest.mark.parametrize("name", ["sgd", "adam", "adamw", "lion"])
def test_decay_shrinks_kernels_and_leaves_biases_and_normalization_alone(name):
    options = config(optimizer=name, learning_rate=0.1, weight_decay=0.5, schedule="constant", warmup_epochs=0)
    optimizer = build_optimizer(options, STEPS_PER_EPOCH)
    variables = [keras.Variable(np.full(2, 4.0, np.float32), name=part) for part in ("kernel", "bias", "gamma", "beta")]
    optimizer.build(variables)
    optimizer.apply([keras.ops.zeros(2)] * 4)
    # No gradient, so that nothing but decay acts: 4 * (1 - 0.1 * 0.5)
    np.testing.assert_allclose([variable.numpy()[0] for variable in variables], [3.8, 4.0, 4.0, 4.0], rtol=1e-6)


@pytest.mark.parametrize(("clip_norm", "expected"), [(1.0, [-0.6, -0.8]), (None, [-3.0, -4.0]), (50.0, [-3.0, -4.0])])
def test_clipping_keeps_the_direction_of_all_gradients_together(clip_norm, expected):
    options = config(
        optimizer="sgd", learning_rate=1.0, momentum=0.0, schedule="constant", warmup_epochs=0, clip_norm=clip_norm
    )
    optimizer = build_optimizer(options, STEPS_PER_EPOCH)
    variables = [keras.Variable(np.zeros(1, np.float32), name=part) for part in ("kernel", "bias")]
    optimizer.build(variables)
    optimizer.apply([keras.ops.array([3.0]), keras.ops.array([4.0])])  # together of norm 5
    np.testing.assert_allclose([variable.numpy()[0] for variable in variables], expected, rtol=1e-6)


def test_momentum_is_nesterovs():
    options = config(
        optimizer="sgd", learning_rate=1.0, momentum=0.5, schedule="constant", warmup_epochs=0, clip_norm=None
    )
    optimizer = build_optimizer(options, STEPS_PER_EPOCH)
    variable = keras.Variable(np.zeros(1, np.float32), name="kernel")
    optimizer.build([variable])
    optimizer.apply([keras.ops.array([1.0])])
    # The velocity becomes -1, the step is half of it and -1 once more.
    assert variable.numpy()[0] == pytest.approx(-1.5)
