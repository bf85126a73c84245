import pytest
from keras import layers

from tests.explain.running import assert_equals_oracle, functional, signal

# What lies below a convolution under z_plus: with a wrong sign, half of its products would be left out.
BELOW = {
    **{name: lambda x, name=name: layers.Activation(name)(x) for name in ("relu", "sigmoid", "tanh", "elu")},
    "relu, then pooled, padded and joined with a tanh": lambda x: layers.Concatenate()(
        [layers.MaxPooling2D(3, 1, padding="same")(layers.ReLU()(x)), layers.Activation("tanh")(x)]
    ),
    "relu less relu": lambda x: layers.Subtract()([layers.ReLU()(x), layers.ReLU()(layers.Conv2D(3, 1)(x))]),
    "relu and relu": lambda x: layers.Add()([layers.ReLU()(x), layers.ReLU()(layers.Conv2D(3, 1)(x))]),
    "relu and a negative constant": lambda x: layers.Rescaling(1.0, -0.25)(layers.ReLU()(x)),
    "relu times a negative constant": lambda x: layers.Rescaling(-2.0, 0.0)(layers.ReLU()(x)),
}


@pytest.mark.parametrize("case", BELOW)
def test_z_plus_knows_the_sign_of_what_it_reads(case):
    def build(x):
        below = BELOW[case](layers.Conv2D(3, 2, padding="same")(x))
        return layers.Dense(2)(layers.Flatten()(layers.Conv2D(2, 2, strides=2, activation="tanh")(below)))

    assert_equals_oracle(functional(build, (4, 4, 2)), signal(2, 4, 4, 2), composite="epsilon_plus")
