# ruff: noqa: PLW0108 - layers are made inside the lambda, while the policy is float64
import json

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers, ops

from explain import ExplainError, OutputError, UnsupportedOperationError, build_explainer
from tests.explain.running import (
    assert_equals_oracle,
    call,
    double,
    explain,
    functional,
    randomized,
    relevance_of,
    signal,
    worst,
)


def classifier(x):
    return layers.Dense(3, activation="softmax", name="probabilities")(layers.Dense(5, activation="relu")(x))


@pytest.mark.parametrize("target", [-1, 0, 2, [2, -1, 0]])
def test_the_target_is_the_largest_an_index_or_one_for_each_example(target):
    model = functional(classifier, (4,))
    x = signal(3, 4)
    assert_equals_oracle(model, x, target=np.asarray(target), composite="epsilon")
    result = explain(model, x, target=target, composite="epsilon")
    predicted = result["probabilities"].argmax(axis=1)
    asked = np.broadcast_to(target, 3)
    np.testing.assert_array_equal(result["target"], np.where(asked == -1, predicted, asked))
    assert result["target"].dtype == np.int32


def test_a_target_out_of_range_gives_zeros():
    result = explain(functional(classifier, (4,)), signal(2, 4), target=[7, -2], composite="epsilon")
    assert not result["relevance"].any()
    assert not result["explained_value"].any()


@pytest.mark.parametrize("final", ["softmax", "sigmoid", "log_softmax"])
@pytest.mark.parametrize("layer", [True, False])
def test_a_final_softmax_or_sigmoid_is_stepped_over(final, layer):
    """The explained value is the score below it, not the probability."""

    def build(x):
        if layer:
            return layers.Activation(final)(layers.Dense(3)(x))
        return layers.Dense(3, activation=final)(x)

    model = functional(build, (4,))
    x = signal(2, 4)
    kernel, bias = model.get_weights()
    z = x @ kernel + bias
    result = explain(model, x, target=1, composite="epsilon")
    np.testing.assert_allclose(result["explained_value"], z[:, 1], rtol=1e-12)
    np.testing.assert_allclose(result["relevance"], x * kernel[:, 1] * (z / (z + 1e-6 * np.sign(z)))[:, 1:2], rtol=1e-9)


def test_a_tanh_at_the_end_is_explained_itself():
    model = functional(lambda x: layers.Dense(2, activation="tanh")(x), (4,))
    x = signal(2, 4)
    kernel, bias = model.get_weights()
    np.testing.assert_allclose(
        explain(model, x, target=0, composite="epsilon")["explained_value"],
        np.tanh(x @ kernel + bias)[:, 0],
        rtol=1e-12,
    )


def two_outputs():
    with double():
        x = keras.Input((4,), name="row", dtype="float64")
        hidden = layers.Dense(5, activation="relu")(x)
        outputs = [layers.Dense(3, activation="softmax", name="kind")(hidden), layers.Dense(1, name="price")(hidden)]
        return randomized(keras.Model(x, outputs))


def test_of_several_outputs_one_must_be_named():
    model = two_outputs()
    with pytest.raises(OutputError, match=r"several outputs: kind, price\. Say which .*--output NAME"):
        build_explainer(model)
    with pytest.raises(OutputError, match=r"one of kind, price\. Received: output='colour'"):
        build_explainer(model, output="colour")


@pytest.mark.parametrize(("output", "targets"), [("kind", 3), ("price", 1)])
def test_the_named_output_is_explained_and_all_are_returned(output, targets):
    model = two_outputs()
    explainer = build_explainer(model, output=output, composite="epsilon")
    assert (explainer.outputs, explainer.explained_output) == (["kind", "price"], output)
    assert explainer.num_targets == targets
    x = signal(2, 4)
    result = call(explainer, {"row": x})
    for actual, expected in zip((result["kind"], result["price"]), model(x), strict=True):
        np.testing.assert_allclose(actual, expected, rtol=1e-12)
    alone = keras.Model(model.inputs, model.get_layer(output).output)
    expected = explain(alone, x, composite="epsilon")["relevance"]
    np.testing.assert_allclose(result["relevance"], expected, rtol=1e-12)


def test_outputs_of_a_dict_are_named_by_its_keys():
    with double():
        x = keras.Input((4,), name="row", dtype="float64")
        built = keras.Model(x, {"kind": layers.Dense(3)(x), "age": layers.Dense(1)(x)})
    for model in (built, keras.Model.from_config(built.get_config())):  # as it is after saving
        explainer = build_explainer(model, output="kind", composite="epsilon")
        assert (explainer.outputs, explainer.num_targets) == (["age", "kind"], 3)
        values = signal(2, 4)
        result, expected = call(explainer, {"row": values}), model(values)
        for name in ("age", "kind"):
            np.testing.assert_allclose(result[name], expected[name], rtol=1e-12)


def test_an_output_that_no_input_reaches_or_that_is_no_number_is_refused():
    model = functional(lambda x: ops.argmax(layers.Dense(3)(x), axis=-1), (4,))
    with pytest.raises(OutputError, match=r"Expected an output of floating numbers.*Received: int"):
        build_explainer(model)


def test_a_model_without_known_inputs_is_refused():
    with pytest.raises(ValueError, match=r"Expected a model whose inputs are known.*Received: Subclassed"):
        build_explainer(Subclassed())


def test_an_operation_without_a_rule_is_refused_with_layer_type_and_the_way_out():
    class Cumulated(layers.Layer):
        def call(self, x):
            return ops.cumprod(x, axis=1)

    model = functional(lambda x: layers.Dense(1)(Cumulated(name="gate")(x)), (4,))
    message = r"operation 'Cumprod' \(layer 'gate'\).*register\('Cumprod'\).*--no-explain"
    with pytest.raises(UnsupportedOperationError, match=message) as refusal:
        build_explainer(model)
    assert (refusal.value.operation, refusal.value.layer) == ("Cumprod", "gate")
    assert isinstance(refusal.value, ExplainError)


def test_a_refusal_with_a_reason_names_no_rule_to_register():
    assert str(UnsupportedOperationError("While", "steps", "It belongs to a loop.")) == (
        "No relevance rule for operation 'While' (layer 'steps'). It belongs to a loop. "
        "Export without explanations (`--no-explain`)."
    )


def test_an_operation_that_the_output_does_not_need_is_not_refused():
    def build(x):
        return [layers.Dense(2, name="scores")(x), layers.Dense(1, name="odd")(ops.cumprod(x, axis=1))]

    with double():
        x = keras.Input((4,), dtype="float64")
        model = randomized(keras.Model(x, build(x)))
    assert build_explainer(model, output="scores").num_targets == 2
    with pytest.raises(UnsupportedOperationError, match="Cumprod"):
        build_explainer(model, output="odd")


def sequential():
    return keras.Sequential(
        [
            keras.Input((6, 6, 1), dtype="float64"),
            layers.Conv2D(3, 3, activation="relu"),
            layers.Flatten(),
            layers.Dense(4, activation="softmax"),
        ]
    )


class Subclassed(keras.Model):
    """The same layers, called by hand."""

    def __init__(self):
        super().__init__()
        self.body, self.flat = layers.Conv2D(3, 3, activation="relu"), layers.Flatten()
        self.head = layers.Dense(4, activation="softmax")

    def call(self, x, training=False):
        return self.head(self.flat(self.body(x)))


def subclassed():
    x = keras.Input((6, 6, 1), dtype="float64")
    return keras.Model(x, Subclassed()(x))


def nested():
    """The convolution within a model within a model."""
    inner = keras.Sequential(
        [keras.Input((6, 6, 1), dtype="float64"), layers.Conv2D(3, 3, activation="relu")], name="inner"
    )
    middle_input = keras.Input((6, 6, 1), dtype="float64")
    middle = keras.Model(middle_input, layers.Flatten()(inner(middle_input)), name="middle")
    x = keras.Input((6, 6, 1), dtype="float64")
    return keras.Model(x, layers.Dense(4, activation="softmax")(middle(x)))


@pytest.mark.parametrize("make", [subclassed, nested])
def test_the_way_a_model_is_written_changes_nothing(make):
    x = signal(2, 6, 6, 1)
    with double():
        plain, other = randomized(sequential()), make()
    other.set_weights(plain.get_weights())
    expected = assert_equals_oracle(plain, x, composite="epsilon_plus")[0]
    result = explain(other, x, composite="epsilon_plus")
    assert worst(relevance_of(result)[0], expected) < 1e-12


def test_a_shared_layer_gets_relevance_at_each_of_its_places():
    def build(x, y):
        shared = layers.Dense(3, activation="tanh", name="shared")
        return layers.Dense(2)(layers.Concatenate()([shared(x), shared(y), shared(x)]))

    model = functional(build, (4,), (4,))
    assert_equals_oracle(model, signal(2, 4), signal(2, 4, seed=2), composite="epsilon")
    explainer = build_explainer(model, composite="epsilon")
    assert [rule["layer"] for rule in explainer.rules].count("shared") == 3


def test_relevance_of_several_inputs_is_named_after_them():
    model = functional(lambda x, y: layers.Dense(2)(layers.Concatenate()([x, y])), (4,), (2,))
    explainer = build_explainer(model, composite="epsilon")
    assert list(explainer.inputs) == ["x0", "x1"]
    result = call(explainer, {"x0": signal(3, 4), "x1": signal(3, 2)})
    assert (result["relevance_x0"].shape, result["relevance_x1"].shape) == ((3, 4), (3, 2))
    assert "relevance" not in result
    assert_equals_oracle(model, signal(3, 4), signal(3, 2), composite="epsilon")


def test_an_input_that_the_output_does_not_read_has_no_relevance():
    with double():
        x, y = keras.Input((4,), name="read"), keras.Input((2,), name="unread")
        model = keras.Model([x, y], [layers.Dense(2, name="first")(x), layers.Dense(1, name="second")(y)])
    explainer = build_explainer(model, output="first")
    result = call(explainer, {"read": signal(2, 4), "unread": signal(2, 2)})
    assert result["relevance_read"].any()
    assert result["relevance_unread"].shape == (2, 2)
    assert not result["relevance_unread"].any()


@pytest.mark.parametrize("dtype", ["uint8", "int32"])
def test_whole_numbers_have_float32_relevance(dtype):
    x = keras.Input((4, 4, 1), dtype=dtype, name="image")
    body = layers.Conv2D(2, 3, activation="relu")(layers.Rescaling(1 / 16)(ops.cast(x, "float32")))
    model = randomized(keras.Model(x, layers.Dense(3)(layers.Flatten()(body))))
    explainer = build_explainer(model)
    assert explainer.inputs["image"].dtype == dtype
    pixels = np.random.default_rng(0).integers(0, 17, (2, 4, 4, 1)).astype(dtype)
    result = call(explainer, {"image": pixels})
    assert result["relevance"].dtype == np.float32
    y = keras.Input((4, 4, 1))
    same = keras.Model(
        y, layers.Dense(3)(layers.Flatten()(layers.Conv2D(2, 3, activation="relu")(layers.Rescaling(1 / 16)(y))))
    )
    same.set_weights(model.get_weights())
    expected = explain(same, pixels.astype(np.float32))["relevance"]
    assert worst(result["relevance"], expected) < 1e-5


def test_float32_models_answer_in_float32():
    x = keras.Input((4,), name="row")
    result = explain(keras.Model(x, classifier(x)), signal(2, 4).astype(np.float32))
    assert {name: value.dtype.name for name, value in result.items()} == {
        "probabilities": "float32",
        "relevance": "float32",
        "explained_value": "float32",
        "conservation_gap": "float32",
        "target": "int32",
    }


def image_classifier(x):
    x = layers.Conv2D(3, 3, padding="same", activation="relu")(layers.Rescaling(1 / 16)(x))
    x = layers.Conv2D(3, 3, strides=2, padding="same", activation="silu")(layers.MaxPooling2D(2)(x))
    x = layers.AveragePooling2D(2, padding="same")(x)
    return layers.Dense(3, activation="softmax")(layers.Flatten()(x))


CORNERS = {
    "zeros": lambda: np.zeros((2, 8, 8, 1)),
    "one value": lambda: np.full((2, 8, 8, 1), 7.0),
    "all negative": lambda: -np.abs(signal(2, 8, 8, 1)) * 16,
    "two values": lambda: (signal(2, 8, 8, 1) > 0) * 16.0,
    "large": lambda: signal(2, 8, 8, 1) * 1e6,
    "small": lambda: signal(2, 8, 8, 1) * 1e-6,
}


@pytest.mark.slow
@pytest.mark.parametrize("dead", [False, True])
@pytest.mark.parametrize("composite", ["epsilon", "epsilon_plus"])
@pytest.mark.parametrize("bias", ["absorb", "ignore", "share"])
def test_dead_units_zeros_ties_and_extremes_stay_finite(composite, bias, dead):
    """`dead`: the first biases are so low that no unit answers."""
    x = keras.Input((8, 8, 1), name="image")
    model = randomized(keras.Model(x, image_classifier(x)))
    if dead:
        model.layers[2].set_weights([model.layers[2].get_weights()[0], np.full(3, -1e9)])
    explainer = build_explainer(model, composite=composite, bias=bias)
    everything = np.concatenate([make() for make in CORNERS.values()]).astype(np.float32)
    result = call(explainer, {"image": everything})
    for name, value in result.items():
        assert np.isfinite(value).all(), name
    if dead and bias == "absorb":
        assert not result["relevance"].any()


@pytest.mark.slow
@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
def test_half_precision_is_explained_in_float32_and_finite(policy):
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(policy)
    try:
        x = keras.Input((8, 8, 1), name="image")
        model = randomized(keras.Model(x, image_classifier(x)))
    finally:
        keras.config.set_dtype_policy(before)
    x = keras.Input((8, 8, 1), name="image")
    full = keras.Model(x, image_classifier(x))
    full.set_weights(model.get_weights())
    images = (np.abs(signal(2, 8, 8, 1)) * 8).astype(np.float32)
    half, single = (explain(m, images, target=1, composite="epsilon_plus") for m in (model, full))
    assert half["relevance"].dtype == np.float32
    assert np.isfinite(half["relevance"]).all()
    # bfloat16 keeps 8 bits: pre-activations and with them the shares are off by a few times 2**-8.
    assert worst(half["relevance"], single["relevance"]) < (0.02 if policy == "mixed_float16" else 0.2)


def test_rules_and_choices_are_ready_for_json():
    explainer = build_explainer(functional(image_classifier, (8, 8, 1)))
    assert explainer.composite == "epsilon_plus"
    assert "convolutions" in explainer.composite_reason
    assert json.loads(json.dumps(explainer.rules)) == explainer.rules
    assert [rule["rule"] for rule in explainer.rules] == ["z_plus", "z_plus", "epsilon"]
    assert [rule["operation"] for rule in explainer.rules] == ["Conv2D", "Conv2D", "MatMul"]
    assert explainer.rules[0]["parameters"] == {"epsilon": 1e-6, "bias": "absorb"}


def test_an_eager_call_is_refused():
    explainer = build_explainer(functional(classifier, (4,)))
    with pytest.raises(RuntimeError, match=r"traced: call this inside a `tf.function`"):
        explainer.explain({"x0": tf.constant(signal(1, 4))}, tf.constant([0]))


def test_predict_is_the_model():
    model = functional(classifier, (4,))
    explainer = build_explainer(model)
    x = signal(3, 4)
    result = tf.function(explainer.predict, autograph=False)({"x0": tf.constant(x)})
    assert list(result) == explainer.outputs == ["probabilities"]
    np.testing.assert_allclose(result["probabilities"], model([x]), rtol=1e-14)


@pytest.mark.parametrize("method", ["explain", "audit"])
def test_no_gradient_and_no_call_is_in_the_graph(method):
    """What has no ONNX form: autodiff's operations, and calls of functions."""
    explainer = build_explainer(functional(image_classifier, (8, 8, 1)))
    function = tf.function(getattr(explainer, method), autograph=False)
    concrete = function.get_concrete_function({**explainer.inputs}, tf.TensorSpec((None,), tf.int32))
    types = {op.type for op in concrete.graph.get_operations()}
    assert not {name for name in types if "Grad" in name or "Backprop" in name or name.endswith("PartitionedCall")}


def test_outputs_of_any_rank_have_one_target_for_each_value():
    model = functional(lambda x: layers.Dense(2)(x), (3, 4))
    explainer = build_explainer(model, composite="epsilon")
    assert explainer.num_targets == 6
    x = signal(2, 3, 4)
    for target in (0, 3):
        relevance = call(explainer, {"x0": x}, target)["relevance"]
        row = target // 2
        assert relevance[:, row].any()
        assert not np.delete(relevance, row, axis=1).any()
    assert_equals_oracle(model, x, target=3, composite="epsilon")
