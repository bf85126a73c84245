import numpy as np
import pytest
from keras import layers

from explain.operations.convolution import phase_kernels
from explain.windows import Windows
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
    "2d with gaps between windows": (
        lambda: [
            layers.Conv2D(3, 1, strides=2, activation="relu"),
            layers.Conv2D(4, (2, 1), strides=(3, 2), padding="same"),
        ],
        (7, 6, 2),
    ),
    "2d groups with gaps between windows": (
        lambda: [layers.Conv2D(4, 1, groups=2, strides=(2, 1)), layers.Conv2D(4, 2, groups=4, strides=3)],
        (9, 5, 4),
    ),
    "1d with gaps between windows": (lambda: [layers.Conv1D(3, 2, strides=3), layers.Conv1D(2, 1)], (7, 2)),
    "2d dilated": (
        lambda: [layers.Conv2D(3, 3, dilation_rate=2, padding="same", activation="relu"), layers.Conv2D(2, 2)],
        (5, 6, 2),
    ),
    "2d groups": (
        lambda: [layers.Conv2D(4, 2, groups=2), layers.Conv2D(4, 2, groups=4, strides=2, activation="tanh")],
        (5, 5, 4),
    ),
    "3d with gaps between windows": (lambda: [layers.Conv3D(2, 1, strides=2, activation="relu")], (3, 4, 2, 2)),
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


def test_phases_that_no_window_reads_have_no_kernel():
    # 1x1 and stride 2: of four phases only the first is read, by the kernel with its channels swapped.
    kernel = np.arange(6.0).reshape(1, 1, 2, 3)
    phases, reach = phase_kernels(kernel, Windows((1, 1), (2, 2), (1, 1), "SAME"), 1)
    np.testing.assert_array_equal(phases[0, 0], kernel[0, 0].T)
    assert reach == [0, 0]
