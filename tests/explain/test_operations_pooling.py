# ruff: noqa: PLW0108 - layers are made inside the lambda, while the policy is float64
import keras
import numpy as np
import pytest
from keras import layers, ops

from tests.explain.running import assert_equals_oracle, explain, functional, randomized, signal, worst
from tests.oracles.from_keras import network_of

POOLING = {
    "max": (lambda: layers.MaxPooling2D(2), (4, 6, 2)),
    "max, rest is left out": (lambda: layers.MaxPooling2D(2), (5, 7, 2)),
    "max same": (lambda: layers.MaxPooling2D(2, padding="same"), (5, 7, 2)),
    "max rectangular": (lambda: layers.MaxPooling2D((1, 3)), (2, 6, 2)),
    "max overlapping": (lambda: layers.MaxPooling2D(3, 2, padding="same"), (7, 6, 2)),
    "max with gaps": (lambda: layers.MaxPooling2D(2, 3), (7, 8, 2)),
    "max 1d": (lambda: layers.MaxPooling1D(3, 2), (8, 2)),
    "max global": (lambda: layers.GlobalMaxPooling2D(), (3, 4, 2)),
    "max global, axes kept": (lambda: layers.GlobalMaxPooling1D(keepdims=True), (5, 3)),
    "average": (lambda: layers.AveragePooling2D(2), (4, 6, 2)),
    "average same": (lambda: layers.AveragePooling2D(2, padding="same"), (5, 7, 2)),
    "average overlapping": (lambda: layers.AveragePooling2D(3, 2, padding="same"), (7, 6, 2)),
    "average with gaps": (lambda: layers.AveragePooling2D((1, 2), 3), (7, 8, 2)),
    "average 1d": (lambda: layers.AveragePooling1D(3, 2), (8, 2)),
    "average global": (lambda: layers.GlobalAveragePooling2D(), (3, 4, 2)),
    "average global, axes kept": (lambda: layers.GlobalAveragePooling1D(keepdims=True), (5, 3)),
}


@pytest.mark.slow
@pytest.mark.parametrize("below", ["input", "relu", "tanh"])
@pytest.mark.parametrize("case", POOLING)
def test_pooling_equals_the_oracle(case, below):
    """Below lies the input, a ReLU (whose zeros tie), or a function that asks for R itself."""
    make, shape = POOLING[case]

    def build(x):
        x = x if below == "input" else layers.Dense(3, activation=below)(x)
        return layers.Dense(2)(layers.Flatten()(make()(x)))

    assert_equals_oracle(functional(build, shape), signal(2, *shape), composite="epsilon")


@pytest.mark.parametrize("make", [layers.MaxPooling3D, layers.AveragePooling3D])
@pytest.mark.parametrize("padding", ["valid", "same"])
def test_pooling_in_three_dimensions_equals_the_oracle(make, padding):
    """In float32, for TensorFlow has no float64 kernels on the CPU: a dozen roundings of 6e-8 of generic values."""
    x = keras.Input((3, 4, 2, 2))
    model = randomized(keras.Model(x, layers.Dense(2)(layers.Flatten()(make(2, padding=padding)(x)))))
    batch = signal(2, 3, 4, 2, 2).astype(np.float32)
    network = network_of(model)
    expected = network.explain({network.inputs[0]: batch}, [1, 1])[network.inputs[0]]
    assert worst(explain(model, batch, target=1, composite="epsilon")["relevance"], expected) < 1e-5


@pytest.mark.parametrize("case", ["max", "max overlapping", "average same"])
def test_pooling_between_convolutions_equals_the_oracle(case):
    make, _ = POOLING[case]

    def build(x):
        x = make()(layers.Conv2D(3, 3, padding="same", activation="relu")(x))
        return layers.Dense(2)(layers.Flatten()(layers.Conv2D(2, 2, padding="same", activation="tanh")(x)))

    model = functional(build, (6, 6, 2))
    assert_equals_oracle(model, signal(2, 6, 6, 2), composite="epsilon_plus")


@pytest.mark.slow
@pytest.mark.parametrize("case", ["max", "max same", "max overlapping", "max 1d", "max global"])
@pytest.mark.parametrize("head", ["linear", "tanh"])
def test_equal_elements_of_a_window_share_equally(case, head):
    """Inputs of three values only: ties everywhere, in negative windows too."""
    make, shape = POOLING[case]
    model = functional(lambda x: layers.Dense(2)(layers.Activation(head)(layers.Flatten()(make()(x)))), shape)
    x = np.random.default_rng(0).integers(-2, 1, (3, *shape)) / 2 - 0.5
    assert_equals_oracle(model, x, composite="epsilon")


def scores(pool, *shape):
    """Pooling alone; what it gives is what is explained."""
    return functional(lambda x: layers.Flatten()(pool(x)), shape)


def test_hand_worked_ties():
    # Windows of 2 with stride 1 over (3, 3, 1): the first gives 3 as 1.5 and 1.5, the second 3 to the middle.
    model = scores(lambda x: layers.MaxPooling1D(2, 1)(x), 3, 1)
    x = np.array([[[3.0], [3.0], [1.0]]])
    np.testing.assert_array_equal(explain(model, x, target=0)["relevance"][0, :, 0], [1.5, 1.5, 0])
    np.testing.assert_array_equal(explain(model, x, target=1)["relevance"][0, :, 0], [0, 3, 0])


def test_elements_that_are_equal_up_to_rounding_tie():
    model = scores(lambda x: layers.MaxPooling1D(2)(x), 2, 1)
    x = np.array([[[3.0], [np.nextafter(3.0, 4.0)]], [[3.0], [3.0 + 1e-5]]])
    relevance = explain(model, x)["relevance"][:, :, 0]
    np.testing.assert_allclose(relevance, [[1.5, 1.5], [0, 3.00001]], rtol=1e-11)


def test_hand_worked_average_without_its_padding():
    # SAME windows of 2 over (1, 2, 6): (1 + 2) / 2 and 6 / 1, for the place beyond the end is not counted.
    model = scores(lambda x: layers.AveragePooling1D(2, padding="same")(x), 3, 1)
    x = np.array([[[1.0], [2.0], [6.0]]])
    first, second = (explain(model, x, target=target) for target in (0, 1))
    # Half of each summand is divided by 1.5 + 1e-6 and multiplied by R, which is 1.5.
    np.testing.assert_allclose(first["relevance"][0, :, 0], [0.5 * 1.5 / 1.500001, 1.5 / 1.500001, 0], rtol=1e-12)
    np.testing.assert_allclose(second["relevance"][0, :, 0], [0, 0, 6 * 6 / 6.000001], rtol=1e-12)


REDUCTIONS = {
    "mean of rows": (lambda x: ops.mean(x, axis=1), lambda x: x.mean(axis=0)),
    "mean of channels, axis kept": (lambda x: ops.mean(x, axis=-1, keepdims=True), lambda x: x.mean(-1, keepdims=True)),
    "sum of rows": (lambda x: ops.sum(x, axis=1), lambda x: x.sum(axis=0)),
    "sum of everything": (lambda x: ops.sum(x, axis=(1, 2), keepdims=True), lambda x: x.sum(keepdims=True)),
}


@pytest.mark.parametrize("case", REDUCTIONS)
def test_sums_and_means_share_in_proportion(case):
    """R_i = x_i w / (y + 1e-6 s(y)) R with w = 1 or 1 / n: w from the derivative, which is the same for all."""
    reduce, reduced = REDUCTIONS[case]
    model = functional(lambda x: layers.Flatten()(reduce(x)), (4, 3))
    x = signal(2, 4, 3)
    result = explain(model, x, target=0)
    for index in range(2):
        y = reduced(x[index]).ravel()[0]
        weights = np.array([reduced(unit.reshape(4, 3)).ravel()[0] for unit in np.eye(12)]).reshape(4, 3)
        np.testing.assert_allclose(
            result["relevance"][index], x[index] * weights / (y + 1e-6 * np.sign(y)) * y, rtol=1e-10
        )


@pytest.mark.parametrize("reduce", [ops.max, ops.min])
def test_the_extremum_over_axes_takes_all(reduce):
    # The largest is 5, twice: each gets half. The smallest is 1, once.
    model = functional(lambda x: reduce(x, axis=(1, 2), keepdims=True)[:, :, 0], (2, 3))
    x = np.array([[[1.0, 5.0, 2.0], [5.0, 3.0, 4.0]]])
    expected = [[0, 2.5, 0], [2.5, 0, 0]] if reduce is ops.max else [[1, 0, 0], [0, 0, 0]]
    np.testing.assert_allclose(explain(model, x)["relevance"][0], expected, rtol=1e-5)
