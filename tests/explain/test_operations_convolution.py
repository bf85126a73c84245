import pytest
from keras import layers

from tests.explain.running import assert_equals_oracle, functional, signal

CHAINS = {
    "1d causal": (lambda: [layers.Conv1D(3, 3, padding="causal", dilation_rate=2), layers.Conv1D(2, 2)], (7, 2)),
    "1d strided": (lambda: [layers.Conv1D(4, 3, strides=2, padding="same"), layers.Conv1D(2, 2)], (7, 2)),
    "1d dilated": (lambda: [layers.Conv1D(3, 3, dilation_rate=2, padding="same"), layers.Conv1D(2, 2)], (7, 2)),
    "2d": (lambda: [layers.Conv2D(4, 3, padding="same", activation="relu"), layers.Conv2D(3, 2)], (4, 4, 3)),
    "2d strided": (
        lambda: [
            layers.Conv2D(3, 3, strides=2, padding="same", activation="relu"),
            layers.Conv2D(3, 2, strides=(1, 2)),
        ],
        (6, 7, 2),
    ),
    "2d dilated": (
        lambda: [layers.Conv2D(3, 3, dilation_rate=2, padding="same", activation="relu"), layers.Conv2D(2, 2)],
        (5, 6, 2),
    ),
    "2d groups": (
        lambda: [layers.Conv2D(4, 2, groups=2), layers.Conv2D(4, 2, groups=4, strides=2, activation="tanh")],
        (5, 5, 4),
    ),
    "3d": (
        lambda: [layers.Conv3D(2, 2, activation="relu"), layers.Conv3D(2, 2, strides=2, padding="same")],
        (3, 3, 4, 1),
    ),
}


@pytest.mark.parametrize("composite", ["epsilon", "epsilon_plus"])
@pytest.mark.parametrize("chain", CHAINS)
def test_convolutions_equal_the_oracle(chain, composite):
    make, shape = CHAINS[chain]

    def build(x):
        for layer in make():
            x = layer(x)
        return layers.Dense(2)(layers.Flatten()(x))

    assert_equals_oracle(functional(build, shape), signal(2, *shape), composite=composite)


@pytest.mark.parametrize("bias", ["absorb", "share"])
def test_a_dilated_convolution_counts_no_padding_in_one_dimension_too(bias):
    model = functional(
        lambda x: layers.Dense(2)(layers.Flatten()(layers.Conv1D(3, 3, dilation_rate=2, padding="same")(x))), (7, 2)
    )
    assert_equals_oracle(model, signal(2, 7, 2), composite="epsilon", bias=bias)


@pytest.mark.slow
@pytest.mark.parametrize("composite", ["epsilon", "epsilon_plus"])
@pytest.mark.parametrize("bias", ["ignore", "share"])
def test_biases_of_convolutions_are_ignored_or_shared_over_what_is_no_padding(composite, bias):
    model = functional(
        lambda x: layers.Dense(2)(
            layers.Flatten()(
                layers.Conv2D(3, 2, strides=2, groups=3)(layers.Conv2D(3, 3, padding="same", activation="relu")(x))
            )
        ),
        (4, 5, 2),
    )
    assert_equals_oracle(model, signal(2, 4, 5, 2), composite=composite, bias=bias)
