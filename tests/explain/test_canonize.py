import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers, ops

from explain.constants import DerivedConstants
from explain.propagation import affine_maps
from explain.trace import input_names, trace_model
from tests.explain.running import assert_equals_oracle, double, explain, functional, randomized, signal, worst
from tests.oracles import layers as oracle
from tests.oracles.network import Network, Node


def maps_of(model):
    """Of every affine map of a model: kernel, bias, and the types of the operations that it stands for."""
    found = []

    def look(**inputs):
        maps = affine_maps(trace_model(model, inputs, DerivedConstants()))
        found.extend((node.kernel.values, node.bias, [op.type for op in node.operations]) for node in maps.values())

    specs = {
        name: tf.TensorSpec((None, *tensor.shape[1:]), tensor.dtype)
        for name, tensor in zip(input_names(model), model.inputs, strict=True)
    }
    tf.function(look, autograph=False).get_concrete_function(**specs)
    return found


def normalized(layer, **options):
    return lambda x: layers.BatchNormalization(epsilon=0.1, **options)(layer()(x))


NORMALIZED = {
    "dense": (normalized(lambda: layers.Dense(3)), (4,)),
    "dense without bias": (normalized(lambda: layers.Dense(3, use_bias=False)), (4,)),
    "dense on rows": (normalized(lambda: layers.Dense(3)), (2, 4)),
    "without gamma": (normalized(lambda: layers.Dense(3), scale=False), (4,)),
    "without beta": (normalized(lambda: layers.Dense(3), center=False), (4,)),
    "convolution": (normalized(lambda: layers.Conv2D(3, 2, use_bias=False)), (4, 3, 2)),
    "convolution 1d": (normalized(lambda: layers.Conv1D(3, 2)), (4, 2)),
    "twice": (lambda x: layers.BatchNormalization()(normalized(lambda: layers.Dense(3))(x)), (4,)),
}


@pytest.mark.parametrize("case", NORMALIZED)
def test_batch_normalization_is_folded_into_the_layer_below(case):
    build, shape = NORMALIZED[case]
    model = functional(build, shape)
    ((kernel, bias, operations),) = maps_of(model)
    assert len(operations) >= 3
    values = model.get_weights()
    expected_kernel, expected_bias = values[0], values[1] if model.layers[1].use_bias else 0.0
    for layer in model.layers[2:]:
        mean, variance = np.asarray(layer.moving_mean), np.asarray(layer.moving_variance)
        gamma = np.asarray(layer.gamma) if layer.scale else 1.0
        beta = np.asarray(layer.beta) if layer.center else 0.0
        # gamma (w x + b - mean) / sqrt(variance + epsilon) + beta
        scale = gamma / np.sqrt(variance + layer.epsilon)
        expected_kernel, expected_bias = expected_kernel * scale, (expected_bias - mean) * scale + beta
    np.testing.assert_allclose(kernel.reshape(expected_kernel.shape), expected_kernel, rtol=1e-12)
    np.testing.assert_allclose(bias, expected_bias, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("bias", ["absorb", "ignore", "share"])
@pytest.mark.parametrize("composite", ["epsilon", "epsilon_alpha2_beta1_flat"])
def test_channels_that_are_split_into_heads_are_folded(composite, bias):
    model = functional(
        lambda x: layers.Dense(3)(layers.Flatten()(layers.EinsumDense("abc,cde->abde", (5, 2, 3), bias_axes="de")(x))),
        (5, 4),
    )
    kernel, offset, *last = model.get_weights()
    heads, _ = maps_of(model)
    np.testing.assert_array_equal(heads[0].reshape(kernel.shape), kernel)
    np.testing.assert_array_equal(heads[1], offset)
    nodes = [
        Node("heads", oracle.Dense(kernel.reshape(4, 6), offset.ravel()), ("x0",)),
        Node("flat", oracle.Move(np.ravel), ("heads",)),
        Node("last", oracle.Dense(*last), ("flat",)),
    ]
    x = signal(3, 5, 4)
    expected = Network(["x0"], nodes).explain({"x0": x}, [1] * 3, composite=composite, bias=bias)["x0"]
    assert worst(explain(model, x, target=1, composite=composite, bias=bias)["relevance"], expected) < 1e-9


def test_heads_that_are_scaled_and_joined_again_are_folded():
    scale = np.array([[0.5], [2.0]])

    def build(x):
        h = ops.reshape(layers.Dense(6)(x), (-1, 2, 3)) * scale
        return layers.Dense(3)(ops.reshape(h, (-1, 6)))

    model = functional(build, (4,))
    kernel, offset, *last = model.get_weights()
    factors = np.repeat(scale, 3)
    nodes = [
        Node("first", oracle.Dense(kernel * factors, offset * factors), ("x0",)),
        Node("last", oracle.Dense(*last), ("first",)),
    ]
    assert len(maps_of(model)[0][2]) >= 4
    x = signal(3, 4)
    expected = Network(["x0"], nodes).explain({"x0": x}, [1] * 3)["x0"]
    assert worst(explain(model, x, target=1, composite="epsilon")["relevance"], expected) < 1e-9


@pytest.mark.parametrize("composite", ["epsilon", "epsilon_plus"])
def test_folded_layers_are_explained_as_one(composite):
    model = functional(
        lambda x: layers.Dense(3)(
            layers.Flatten()(
                layers.ReLU()(normalized(lambda: layers.Conv2D(4, 3, padding="same", use_bias=False))(x)),
            )
        ),
        (4, 4, 2),
    )
    assert_equals_oracle(model, signal(2, 4, 4, 2), composite=composite)


def test_folding_stops_where_an_intermediate_result_is_read_elsewhere():
    def build(x):
        hidden = layers.Dense(4)(x)
        both = layers.Concatenate()([layers.BatchNormalization()(hidden), hidden])
        return layers.Dense(3)(layers.Activation("tanh")(both))

    model = functional(build, (5,))
    assert [operations[-1] for _, _, operations in maps_of(model)] == [maps_of(model)[0][2][-1]] * 2
    assert "Mul" not in maps_of(model)[0][2]
    assert_equals_oracle(model, signal(2, 5), composite="epsilon")
    assert_equals_oracle(model, signal(2, 5), composite="epsilon", bias="ignore")


def test_folding_stops_at_an_output():
    with double():
        x = keras.Input((4,), dtype="float64")
        hidden = layers.Dense(3, name="hidden")(x)
        model = randomized(keras.Model(x, [hidden, layers.BatchNormalization(name="normalized")(hidden)]))
    assert "Mul" not in maps_of(model)[0][2]
    batch = signal(2, 4)
    alone = keras.Model(model.inputs, model.outputs[0])
    first = explain(model, batch, composite="epsilon", output="hidden")
    np.testing.assert_allclose(first["relevance"], explain(alone, batch, composite="epsilon")["relevance"], rtol=1e-12)


@pytest.mark.parametrize("position", ["first", "after an activation"])
@pytest.mark.parametrize("bias", ["absorb", "ignore"])
def test_batch_normalization_elsewhere_is_preprocessing_or_a_factor_and_a_bias(position, bias):
    def build(x):
        below = x if position == "first" else layers.Dense(4, activation="tanh")(x)
        return layers.Dense(3)(layers.BatchNormalization()(below))

    model = functional(build, (5,))
    assert_equals_oracle(model, signal(2, 5), composite="epsilon", bias=bias)


def test_an_activation_is_not_folded_over():
    model = functional(lambda x: layers.Rescaling(2.0, 1.0)(layers.Dense(3, activation="relu")(x)), (4,))
    assert maps_of(model)[0][2][0] == "MatMul"
    assert "Relu" not in maps_of(model)[0][2]
    assert "Mul" not in maps_of(model)[0][2]
    assert_equals_oracle(model, signal(4, 4), composite="epsilon")


CONSTANTS = {
    "x * 2": (lambda y: y * 2.0, (2.0, 0.0)),
    "x / 4": (lambda y: y / 4.0, (0.25, 0.0)),
    "x - 3": (lambda y: y - 3.0, (1.0, -3.0)),
    "3 - x": (lambda y: 3.0 - y, (-1.0, 3.0)),
    "1 + x": (lambda y: 1.0 + y, (1.0, 1.0)),
}


@pytest.mark.slow
@pytest.mark.parametrize("case", CONSTANTS)
@pytest.mark.parametrize("composite", ["epsilon", "epsilon_plus"])
def test_arithmetic_with_a_constant_is_folded(case, composite):
    function, (scale, shift) = CONSTANTS[case]
    model = functional(
        lambda x: layers.Dense(2)(layers.ReLU()(layers.Flatten()(function(layers.Conv1D(3, 2)(x))))), (4, 2)
    )
    kernel, bias, head, head_bias = model.get_weights()
    first = oracle.Convolution(kernel * scale, bias * scale + shift, strides=(1,), padding="valid", dilations=(1,))
    network = Network(
        ["x0"],
        [
            Node("convolution", first, ("x0",)),
            Node("relu", oracle.Activation(oracle.FUNCTIONS["relu"]), ("convolution",)),
            Node("flat", oracle.Move(np.ravel), ("relu",)),
            Node("dense", oracle.Dense(head, head_bias), ("flat",)),
        ],
    )
    x = signal(3, 4, 2)
    expected = network.explain({"x0": x}, [-1] * 3, composite=composite)["x0"]
    assert worst(explain(model, x, composite=composite)["relevance"], expected) < 1e-9


class Positions(layers.Layer):
    """Adds a weight that differs along the rows and the channels, as position embeddings do."""

    def build(self, shape):
        self.values = self.add_weight(shape=shape[1:], name="values")

    def call(self, x):
        return x + self.values


def test_a_constant_that_differs_along_the_rows_is_not_folded_and_absorbs():
    model = functional(lambda x: layers.Dense(2)(layers.Flatten()(Positions()(layers.Dense(3)(x)))), (4, 2))
    kernel, bias, positions, head, head_bias = model.get_weights()
    assert maps_of(model)[0][0].shape == (2, 3)
    np.testing.assert_array_equal(maps_of(model)[0][1], bias)
    nodes = [
        Node("dense", oracle.Dense(kernel, bias), ("x0",)),
        Node("relu", oracle.Activation(lambda x: x), ("dense",)),  # keeps the oracle from folding
        Node("positions", oracle.Scale(1.0, positions), ("relu",)),
        Node("flat", oracle.Move(np.ravel), ("positions",)),
        Node("head", oracle.Dense(head, head_bias), ("flat",)),
    ]
    x = signal(2, 4, 2)
    expected = Network(["x0"], nodes).explain({"x0": x}, [-1, -1])["x0"]
    assert worst(explain(model, x, composite="epsilon")["relevance"], expected) < 1e-9


RESHAPED = {
    "to another rank": (lambda x: layers.Reshape((16, 6))(layers.Conv2D(6, 3, padding="same")(x)), (4, 4, 2)),
    "to other sizes": (lambda x: layers.Reshape((8, 2, 6))(layers.Conv2D(6, 3, padding="same")(x)), (4, 4, 2)),
    "channels change": (lambda x: layers.Reshape((4, 8, 3))(layers.Conv2D(6, 3, padding="same")(x)), (4, 4, 2)),
    "dense on rows": (lambda x: layers.Reshape((4, 2, 6))(layers.Dense(6)(x)), (2, 4, 3)),
    "convolution 1d": (lambda x: layers.Reshape((2, 2, 6))(layers.Conv1D(6, 3, padding="same")(x)), (4, 2)),
}


@pytest.mark.parametrize("case", RESHAPED)
@pytest.mark.parametrize("composite", ["epsilon", "epsilon_plus"])
def test_a_reshape_after_a_layer_changes_nothing(case, composite):
    build, shape = RESHAPED[case]
    model = functional(lambda x: layers.Dense(2)(layers.Flatten()(layers.Activation("tanh")(build(x)))), shape)
    assert_equals_oracle(model, signal(2, *shape), composite=composite)


def test_a_shared_layer_is_folded_where_it_stands():
    """Dense read twice, once with normalisation behind it: two maps with different kernels."""

    def build(x, y):
        dense = layers.Dense(3)
        return layers.Concatenate()([layers.BatchNormalization()(dense(x)), dense(y)])

    model = functional(build, (4,), (4,))
    (first, _, _), (second, _, _) = maps_of(model)
    assert not np.allclose(first, second)
    batch = signal(2, 4), signal(2, 4, seed=2)
    for target in (0, 4):
        own, other = (explain(model, *batch, target=target, composite="epsilon")[f"relevance_x{i}"] for i in (0, 1))
        assert np.abs(own if target < 3 else other).max() > 0
        assert not (other if target < 3 else own).any()


def test_ops_functions_are_folded_like_layers():
    model = functional(lambda x: ops.add(ops.multiply(layers.Dense(3, use_bias=False)(x), 2.0), 1.0), (4,))
    ((kernel, bias, _),) = maps_of(model)
    np.testing.assert_allclose(kernel, 2 * model.get_weights()[0], rtol=1e-14)
    assert bias == 1.0
