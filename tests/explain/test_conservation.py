# ruff: noqa: PLW0108 - layers are made inside the lambda, while the policy is float64
import keras
import numpy as np
import pytest
from keras import layers

from explain import build_explainer
from tests.explain.running import call, functional, randomized, signal

WHAT = ("relevance_out", "relevance_in", "absorbed_bias", "absorbed_stabilizer")


def convolutional(x):
    x = layers.Conv2D(4, 3, padding="same", activation="relu")(layers.Rescaling(1 / 4, -0.5)(x))
    x = layers.MaxPooling2D(2, padding="same")(x)
    y = layers.BatchNormalization()(layers.Conv2D(4, 3, padding="same", use_bias=False)(x))
    x = layers.ReLU()(layers.Add()([x, y]))
    x = layers.AveragePooling2D(3, 2, padding="same")(layers.ZeroPadding2D(1)(layers.Conv2D(3, 2, strides=2)(x)))
    x = layers.Concatenate()([layers.Flatten()(x), layers.GlobalMaxPooling2D()(y)])
    return layers.Dense(3, activation="softmax")(layers.Dropout(0.5)(layers.Dense(6, activation="gelu")(x)))


def scaled_between(x):
    x = layers.Rescaling(2.0, 0.3)(layers.Dense(5, activation="tanh")(x))
    x = layers.Subtract()([x, layers.Dense(5)(x)])
    return layers.Dense(2)(layers.Concatenate()([x[:, 1:4], x[:, ::2]]))


MODELS = {
    "convolutional": (convolutional, (8, 7, 2)),
    "scaled between": (scaled_between, (4,)),
}


def accounts(explainer, x, target=-1):
    """For each step of the audit, what it received, passed on and absorbed, `(batch,)` each."""
    steps = {}
    for name, value in call(explainer, {next(iter(explainer.inputs)): x}, target, "audit").items():
        step, what = name.rsplit("/", 1)
        steps.setdefault(step, {})[what] = value
    return steps


@pytest.mark.slow
@pytest.mark.parametrize("composite", ["epsilon", "epsilon_plus"])
@pytest.mark.parametrize("bias", ["absorb", "ignore", "share"])
@pytest.mark.parametrize("name", MODELS)
def test_every_step_accounts_for_what_it_received(name, bias, composite):
    build, shape = MODELS[name]
    explainer = build_explainer(functional(build, shape), composite=composite, bias=bias, epsilon=1e-3)
    x = signal(3, *shape)
    result = call(explainer, {"x0": x})
    steps = accounts(explainer, x)
    scale = np.abs(result["explained_value"])
    assert steps
    for step, account in steps.items():
        assert sorted(account) == sorted([*WHAT, "relevance_within"])
        out, passed, by_bias, by_stabilizer = (account[what] for what in WHAT)
        size = scale + np.abs(out) + np.abs(passed)
        assert (np.abs(out - passed - by_bias - by_stabilizer) <= 1e-9 * size).all(), step
        if bias == "ignore":
            assert not by_bias.any(), step


@pytest.mark.slow
@pytest.mark.parametrize("bias", ["absorb", "ignore", "share"])
def test_the_accounts_add_up_to_the_gap(bias):
    explainer = build_explainer(functional(*MODELS["convolutional"]), composite="epsilon_plus", bias=bias)
    x = signal(2, 8, 7, 2)
    result = call(explainer, {"x0": x})
    absorbed = sum(a["absorbed_bias"] + a["absorbed_stabilizer"] for a in accounts(explainer, x).values())
    np.testing.assert_allclose(result["conservation_gap"], absorbed, atol=1e-9 * np.abs(result["relevance"]).sum())
    total = result["relevance"].sum(axis=(1, 2, 3))
    np.testing.assert_allclose(result["explained_value"] - total, result["conservation_gap"], atol=1e-9)


@pytest.mark.parametrize("composite", ["epsilon", "epsilon_plus"])
@pytest.mark.parametrize("bias", ["ignore", "share"])
def test_without_absorbing_biases_only_the_stabilizer_takes(bias, composite):
    """On all-positive weights and inputs, where no denominator comes near the stabiliser of 1e-9."""
    model = functional(
        lambda x: layers.Dense(2)(layers.Flatten()(layers.Conv2D(3, 3, padding="same", activation="relu")(x))),
        (4, 4, 2),
    )
    model.set_weights([np.abs(value) for value in model.get_weights()])
    explainer = build_explainer(model, composite=composite, bias=bias, epsilon=1e-9)
    result = call(explainer, {"x0": signal(2, 4, 4, 2, sign="non_negative")})
    np.testing.assert_allclose(result["conservation_gap"], 0, atol=1e-7 * np.abs(result["explained_value"]).max())
    absorbing = build_explainer(model, composite=composite, bias="absorb", epsilon=1e-9)
    gap = call(absorbing, {"x0": signal(2, 4, 4, 2, sign="non_negative")})["conservation_gap"]
    assert (np.abs(gap) > 1e-3).all()


def test_steps_are_named_by_position_layer_operation_and_rule():
    with_names = functional(
        lambda x: layers.Dense(2, name="top")(layers.ReLU(name="act")(layers.Dense(3, name="low")(x))), (4,)
    )
    steps = list(accounts(build_explainer(with_names, composite="epsilon_plus"), signal(2, 4)))
    assert [step.split("/")[1:] for step in steps] == [
        ["top", "MatMul", "epsilon"],
        ["act", "Relu", ""],
        ["low", "MatMul", "epsilon"],
    ]
    assert [step.split("/")[0] for step in steps] == sorted(step.split("/")[0] for step in steps)


def test_relevance_that_no_input_receives_shows_in_the_accounts():
    """A bias that holds everything: the logit does not depend on the input, and the gap is the logit."""
    model = functional(lambda x: layers.Dense(1)(x), (3,))
    model.set_weights([np.zeros((3, 1)), np.array([2.0])])
    explainer = build_explainer(model, composite="epsilon")
    x = signal(1, 3)
    (account,) = accounts(explainer, x).values()
    assert account["absorbed_bias"] == pytest.approx([2.0], rel=1e-5)
    assert account["relevance_in"] == pytest.approx([0.0])
    assert call(explainer, {"x0": x})["conservation_gap"] == pytest.approx([2.0])


@pytest.mark.slow
def test_float32_accounts_to_rounding():
    x = keras.Input((8, 7, 2), name="x0")
    explainer = build_explainer(randomized(keras.Model(x, convolutional(x))), composite="epsilon_plus")
    batch = signal(2, 8, 7, 2).astype(np.float32)
    for step, account in accounts(explainer, batch).items():
        out, *parts = (account[what].astype(np.float64) for what in WHAT)
        size = np.abs(out) + sum(np.abs(part) for part in parts) + 1.0
        # A few hundred terms of float32 that partly cancel.
        assert (np.abs(out - sum(parts)) <= 1e-4 * size).all(), step


def test_a_dense_layer_on_images_accounts_step_by_step():
    """Inside, batch and positions are one axis: what an example received isn't held against shares of the batch."""

    def build(x):
        return layers.Dense(3)(layers.GlobalAveragePooling2D()(layers.Dense(16, activation="gelu")(x)))

    explainer = build_explainer(functional(build, (2, 2, 4)), composite="epsilon")
    for step, account in accounts(explainer, signal(5, 2, 2, 4)).items():
        passed_on = sum(account[what] for what in WHAT[1:])
        np.testing.assert_allclose(account["relevance_out"], passed_on, atol=1e-9, err_msg=step)
