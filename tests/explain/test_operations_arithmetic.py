# ruff: noqa: PLW0108 - layers are made inside the lambda, while the policy is float64
import numpy as np
import pytest
from keras import layers, ops

from tests.explain.running import assert_equals_oracle, explain, functional, relevance_of, signal, worst


def two(merge, activation="linear"):
    """Two dense signals of one input, merged, below a dense layer."""

    def build(x):
        return layers.Dense(2)(
            layers.Activation(activation)(merge([layers.Dense(4)(x), layers.Dense(4, activation="tanh")(x)]))
        )

    return functional(build, (5,))


@pytest.mark.slow
@pytest.mark.parametrize("activation", ["linear", "relu", "tanh"])
@pytest.mark.parametrize("merge", [layers.Add, layers.Subtract, layers.Average])
@pytest.mark.parametrize("bias", ["absorb", "share"])
def test_sums_of_signals_equal_the_oracle(merge, activation, bias):
    model = two(lambda signals: merge()(signals), activation)
    assert_equals_oracle(model, signal(3, 5), composite="epsilon", bias=bias)


def test_sums_of_three_and_of_different_inputs_equal_the_oracle():
    model = functional(
        lambda x, y, z: layers.Dense(2)(layers.Add()([layers.Dense(4)(x), layers.Dense(4)(y), z])), (2,), (3,), (4,)
    )
    assert_equals_oracle(model, signal(2, 2), signal(2, 3, seed=2), signal(2, 4, seed=3), composite="epsilon")


@pytest.mark.slow
@pytest.mark.parametrize("composite", ["epsilon", "epsilon_plus"])
def test_residual_blocks_equal_the_oracle(composite):
    def build(x):
        x = layers.Conv2D(4, 3, padding="same", activation="relu")(x)
        for _ in range(2):
            y = layers.BatchNormalization()(layers.Conv2D(4, 3, padding="same", use_bias=False)(x))
            x = layers.ReLU()(layers.Add()([x, y]))
        return layers.Dense(3)(layers.GlobalAveragePooling2D()(x))

    assert_equals_oracle(functional(build, (4, 4, 2)), signal(2, 4, 4, 2), composite=composite)


def test_hand_worked_sum():
    # 6 + (-2) = 4: shares 6/4 * 4 = 6 and -2; of the difference 6 - (-2) = 8: 6 and 2 of 8, with R = 8.
    inputs = np.array([[6.0]]), np.array([[-2.0]])
    total = relevance_of(explain(functional(lambda x, y: layers.Add()([x, y]), (1,), (1,)), *inputs))
    np.testing.assert_allclose(np.ravel(total), [6, -2], rtol=1e-6)
    difference = relevance_of(explain(functional(lambda x, y: layers.Subtract()([x, y]), (1,), (1,)), *inputs))
    np.testing.assert_allclose(np.ravel(difference), [6, 2], rtol=1e-6)


def test_a_signal_added_to_itself_keeps_all():
    model = functional(lambda x: layers.Dense(1)(x + x), (3,))
    single = functional(lambda x: layers.Dense(1)(x), (3,))
    single.set_weights(model.get_weights())
    x = signal(2, 3)
    expected = explain(single, 2 * x, composite="epsilon")["relevance"]
    assert worst(explain(model, x, composite="epsilon")["relevance"], expected) < 1e-12


def test_a_broadcast_signal_collects_what_its_copies_get():
    """y_ij = a_ij + b_j over rows i: R_b,j = sum_i b_j / (y_ij + 1e-6 s) R_ij."""
    model = functional(lambda a, b: layers.Dense(1)(layers.Flatten()(a + b)), (3, 2), (1, 2))
    a, b = signal(2, 3, 2), signal(2, 1, 2, seed=2)
    kernel, bias = model.get_weights()
    y = a + b
    z = y.reshape(2, 6) @ kernel + bias
    r = y * kernel.reshape(1, 3, 2) * (z / (z + 1e-6 * np.sign(z)))[:, :, None]
    c = r / (y + 1e-6 * np.sign(y))
    first, second = relevance_of(explain(model, a, b, composite="epsilon"))
    np.testing.assert_allclose(first, a * c, rtol=1e-9)
    np.testing.assert_allclose(second, (b * c).sum(axis=1, keepdims=True), rtol=1e-9)


@pytest.mark.parametrize(("merge", "winner"), [(layers.Maximum, np.maximum), (layers.Minimum, np.minimum)])
@pytest.mark.parametrize("activation", ["linear", "tanh"])
def test_the_winner_takes_all_and_equal_signals_share(merge, winner, activation):
    def head(x):
        return layers.Dense(1)(layers.Activation(activation)(x))

    model = functional(lambda x, y: head(merge()([x, y])), (4,), (4,))
    above = functional(head, (4,))
    above.set_weights(model.get_weights())
    x, y = np.array([[1.0, -2.0, 3.0, -1.0]]), np.array([[2.0, -3.0, 3.0, -1.0]])
    r = explain(above, winner(x, y), composite="epsilon")["relevance"]
    share = np.where(x == y, 0.5, winner(x, y) == x)
    first, second = relevance_of(explain(model, x, y, composite="epsilon"))
    np.testing.assert_allclose(first, share * r, atol=1e-14)
    np.testing.assert_allclose(second, (1 - share) * r, atol=1e-14)


@pytest.mark.parametrize("bias", ["absorb", "ignore", "share"])
def test_preprocessing_passes_relevance_whole(bias):
    """Scaling below the first weights only changes units, even where it shifts."""
    model = functional(lambda x: layers.Dense(2)(layers.Rescaling(1 / 8, -1.0)(x)), (4,))
    assert_equals_oracle(model, signal(2, 4) * 8, composite="epsilon", bias=bias)
    x = signal(2, 4) * 8
    above = functional(lambda x: layers.Dense(2)(x), (4,))
    above.set_weights(model.get_weights())
    for target in (0, 1):
        expected = explain(above, x / 8 - 1, composite="epsilon", bias=bias, target=target)["relevance"]
        actual = explain(model, x, composite="epsilon", bias=bias, target=target)["relevance"]
        assert worst(actual, expected) < 1e-12


def test_normalization_of_columns_is_preprocessing():
    def build(x):
        return layers.Dense(2)(layers.Normalization(mean=[1.0, 2.0, 3.0], variance=[4.0, 1.0, 0.25])(x))

    model = functional(build, (3,))
    x = signal(2, 3)
    above = functional(lambda x: layers.Dense(2)(x), (3,))
    above.set_weights(model.get_weights()[-2:])
    expected = explain(above, (x - [1, 2, 3]) / [2, 1, 0.5], composite="epsilon")["relevance"]
    assert worst(explain(model, x, composite="epsilon")["relevance"], expected) < 1e-12


@pytest.mark.parametrize("bias", ["absorb", "ignore", "share"])
def test_a_constant_above_the_weights_is_a_bias(bias):
    def build(x):
        return layers.Dense(2)(layers.Rescaling(3.0, 0.5)(layers.Dense(4, activation="tanh")(x)))

    assert_equals_oracle(functional(build, (5,)), signal(2, 5), composite="epsilon", bias=bias)


FACTORS = {
    "x * 3": lambda y: y * 3.0,
    "3 * x": lambda y: 3.0 * y,
    "x / 2": lambda y: y / 2.0,
    "-x": lambda y: -y,
}


@pytest.mark.slow
@pytest.mark.parametrize("head", ["linear", "tanh"])
@pytest.mark.parametrize("case", FACTORS)
def test_a_constant_factor_takes_nothing(case, head):
    """Between two activations, where nothing is folded."""
    function = FACTORS[case]
    shape = (4,)

    def above(x):
        return layers.Dense(2)(layers.Activation(head)(x))

    model = functional(lambda x: above(function(layers.Activation("tanh")(x))), shape)
    reference = functional(above, shape)
    reference.set_weights(model.get_weights())
    x = signal(2, 4)
    expected = explain(reference, function(np.tanh(x)), composite="epsilon")["relevance"]
    assert worst(explain(model, x, composite="epsilon")["relevance"], expected) < 1e-12


def test_a_difference_from_the_mean_shares_between_both():
    """x - mean(x) is linear: R_i = x_i (w_i - mean(w)) for a stabiliser of 0."""
    model = functional(lambda x: layers.Dense(1, use_bias=False)(x - ops.mean(x, axis=1, keepdims=True)), (4,))
    x = signal(2, 4)
    kernel = model.get_weights()[0][:, 0]
    expected = x * (kernel - kernel.mean())
    # 1e-6 in the denominators x_i - mean(x) and mean(x), which are of order 0.1.
    assert worst(explain(model, x, composite="epsilon", epsilon=1e-12)["relevance"], expected) < 1e-4
