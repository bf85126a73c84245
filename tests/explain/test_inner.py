import keras
import numpy as np
import pytest
from keras import layers

from explain import LayerError, build_explainer
from explain.inner import layer_outputs
from tests.explain.running import call, explain, functional, signal


def network(x):
    x = layers.Dense(5, activation="relu", name="low")(x)
    x = layers.BatchNormalization(name="norm")(layers.Dense(4, name="middle")(x))
    x = layers.Dropout(0.5, name="dropout")(layers.ReLU(name="act")(x))
    return layers.Dense(3, activation="softmax", name="top")(x)


def test_relevance_at_a_layer_is_the_relevance_of_its_output_in_the_rest_of_the_network():
    """What arrives at `act` is what LRP of the network above it gives to its input."""
    model = functional(network, (6,))
    x = signal(2, 6)
    result = explain(model, x, target=1, composite="epsilon", layers=["act"])
    below = keras.Model(model.inputs, model.get_layer("act").output)
    rest_input = keras.Input((4,), dtype="float64", name="x0")
    rest = keras.Model(rest_input, model.get_layer("top")(rest_input))
    expected = explain(rest, np.asarray(below([x])), target=1, composite="epsilon")
    np.testing.assert_allclose(result["relevance_at_act"], expected["relevance"], rtol=1e-12)
    np.testing.assert_allclose(result["explained_value"], expected["explained_value"], rtol=1e-12)


def test_relevance_is_conserved_from_layer_to_layer_where_no_bias_absorbs():
    model = functional(network, (6,))
    asked = ["low", "norm", "act", "dropout"]
    result = explain(model, signal(3, 6), composite="epsilon", bias="ignore", epsilon=1e-12, layers=asked)
    for layer in asked:
        total = result[f"relevance_at_{layer}"].sum(axis=1)
        np.testing.assert_allclose(total, result["explained_value"], rtol=1e-6)
    assert result["relevance_at_low"].shape == (3, 5)


def test_the_relevance_of_the_input_is_the_same_with_and_without_layers():
    model = functional(network, (6,))
    plain, layered = (explain(model, signal(2, 6), composite="epsilon", layers=names) for names in ((), ("low", "act")))
    assert layered.keys() - plain.keys() == {"relevance_at_low", "relevance_at_act"}
    for name, values in plain.items():
        np.testing.assert_array_equal(layered[name], values)


def test_branches_that_meet_again_each_have_their_part():
    """y = relu(a x) + b x: with all weights positive the two branches' relevance adds up to the score."""

    def residual(x):
        added = layers.Add()([layers.Dense(3, use_bias=False, activation="relu", name=n)(x) for n in ("left", "right")])
        return layers.Dense(1, use_bias=False)(added)

    model = functional(residual, (4,))
    model.set_weights([np.abs(values) for values in model.get_weights()])
    result = explain(model, signal(2, 4, sign="non_negative"), composite="epsilon", layers=["left", "right"])
    parts = [result[f"relevance_at_{name}"].sum(axis=1) for name in ("left", "right")]
    assert (np.abs(parts) > 1e-3).all()
    np.testing.assert_allclose(sum(parts), result["explained_value"], rtol=1e-5)


def test_a_recurrent_layer_can_be_asked_for():
    model = functional(lambda x: layers.Dense(2)(layers.GRU(3, name="gru")(x)), (4, 2))
    result = explain(model, signal(2, 4, 2), composite="epsilon", bias="ignore", layers=["gru"])
    assert result["relevance_at_gru"].shape == (2, 3)
    np.testing.assert_allclose(result["relevance_at_gru"].sum(axis=1), result["explained_value"], rtol=1e-4)


def test_the_audit_knows_what_arrives_at_each_layer():
    model = functional(network, (6,))
    explainer = build_explainer(model, composite="epsilon", layers=["act"])
    x = signal(2, 6)
    accounts = call(explainer, {"x0": x}, method="audit")
    assert not any("relevance_at" in name for name in accounts)
    (arrived,) = (value for name, value in accounts.items() if "/act/" in name and name.endswith("relevance_out"))
    np.testing.assert_allclose(call(explainer, {"x0": x})["relevance_at_act"].sum(axis=1), arrived, rtol=1e-12)


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        ("acts", r"one of the model's layers. Received: 'acts'. Relevance can be had at: act, "),
        ("middle", r"crosses. Received: 'middle', where none arrives.*folded.*Relevance can be had at: .*norm"),
        ("top", r"crosses. Received: 'top', where none arrives.*lies above that score"),
    ],
)
def test_a_layer_without_relevance_is_refused_with_those_that_have_it(layer, message):
    with pytest.raises(LayerError, match=message):
        build_explainer(functional(network, (6,)), layers=[layer])


def test_a_layer_off_the_way_is_refused():
    model = functional(lambda x: [layers.Dense(2, name="y")(x), layers.Dense(2, name="side")(x)], (3,))
    with pytest.raises(LayerError, match=r"Received: 'side', where none arrives: it isn't on a way"):
        build_explainer(model, output="y", layers=["side"])


def test_a_layer_that_is_called_twice_is_refused():
    def shared(x):
        dense = layers.Dense(3, name="twice")
        return layers.Dense(1)(dense(dense(x)))

    with pytest.raises(LayerError, match=r"called once. Received: 'twice', which is called 2 times"):
        build_explainer(functional(shared, (3,)), layers=["twice"])


def test_outputs_have_names_of_their_own():
    names = layer_outputs(["block 1/conv", "block_1_conv", "a", "a"], ["relevance_at_a"])
    assert names == {
        "block 1/conv": "relevance_at_block_1_conv",
        "block_1_conv": "relevance_at_block_1_conv_1",
        "a": "relevance_at_a_1",
    }
