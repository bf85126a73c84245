# ruff: noqa: PLW0108 - layers are made inside the lambda, while the policy is float64
import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

from explain import build_explainer
from explain.composites import Assignment, Composite
from explain.errors import CompositeError, ExplainError, UnsupportedOperationError
from explain.recurrent import scan
from explain.rules import Rule as EngineRule
from tests.explain.recurrent_models import FEATURES, LAYERS, OPTIONS, TIME, UNITS, alone, expected_of
from tests.explain.running import (
    RULE_TOLERANCE,
    call,
    double,
    explain,
    functional,
    randomized,
    relevance_of,
    signal,
    worst,
)
from tests.oracles.recurrent import Recurrent, Rule


@pytest.mark.slow
@pytest.mark.parametrize("returns", ["last", "sequence"])
@pytest.mark.parametrize("option", OPTIONS)
@pytest.mark.parametrize("name", LAYERS)
def test_relevance_equals_the_oracle(name, option, returns):
    model, oracle = alone(LAYERS[name], return_sequences=returns == "sequence", **OPTIONS[option])
    x = signal(3, TIME, FEATURES)
    target = np.array([1, 4, 2]) + (np.array([2, 5, 3]) * UNITS if returns == "sequence" else 0)
    result = explain(model, x, target=target)
    outputs = np.stack([oracle.run(example)[0] for example in x])
    np.testing.assert_allclose(result[next(iter(result))], outputs, rtol=1e-10, atol=1e-14)
    expected, _ = expected_of(oracle, x, target)
    if option != "relu":  # where it is zero there is nothing to explain
        assert np.abs(expected).max() > 0
    assert worst(result["relevance"], expected) <= RULE_TOLERANCE


@pytest.mark.parametrize("time", [1, 16, 37])
@pytest.mark.parametrize("name", LAYERS)
def test_dynamic_length_is_processed_in_blocks(name, time):
    model, oracle = alone(LAYERS[name], time=None, return_sequences=True)
    explainer = build_explainer(model)
    specs = explainer.inputs, tf.TensorSpec((None,), tf.int32)
    function = tf.function(explainer.explain, autograph=False).get_concrete_function(*specs)
    for length in (time, time + 3):
        x, target = signal(2, length, FEATURES), np.array([length * UNITS - 1, (length // 2) * UNITS])
        expected, _ = expected_of(oracle, x, target)
        found = function({"x0": tf.constant(x)}, tf.constant(target, tf.int32))
        assert worst(found["relevance"].numpy(), expected) <= RULE_TOLERANCE


def test_long_static_sequence_is_processed_in_blocks():
    time = scan.MAX_UNROLLED + 5
    model, oracle = alone(LAYERS["lstm"], time=time)
    x, target = signal(2, time, FEATURES), np.array([0, 3])
    expected, _ = expected_of(oracle, x, target)
    assert worst(explain(model, x, target=target)["relevance"], expected) <= RULE_TOLERANCE


@pytest.mark.slow
@pytest.mark.parametrize("epsilon", [0.0, 1e-3, 0.5])
@pytest.mark.parametrize("bias", ["absorb", "ignore", "share"])
@pytest.mark.parametrize("name", LAYERS)
def test_stabilizer_bias_modes_and_accounts_equal_the_oracle(name, bias, epsilon):
    model, oracle = alone(LAYERS[name], return_sequences=True)
    x, target = signal(3, TIME, FEATURES), np.array([7, 29, 18])
    composite = Composite("own", (Assignment(EngineRule("epsilon", {"epsilon": epsilon, "bias": bias})),), bias=bias)
    explainer = build_explainer(model, composite=composite)
    expected, accounts = expected_of(oracle, x, target, Rule(epsilon, bias))
    assert worst(call(explainer, {"x0": x}, target)["relevance"], expected) <= RULE_TOLERANCE
    audit = call(explainer, {"x0": x}, target, "audit")
    (step,) = {name.rsplit("/", 1)[0] for name in audit if f"/{type(model.layers[-1]).__name__}/epsilon/" in name}
    found = {what: audit[f"{step}/{what}"] for what in ("absorbed_bias", "absorbed_stabilizer")}
    size = np.abs(expected).sum(axis=(1, 2))
    assert (np.abs(found["absorbed_bias"] - [account.bias for account in accounts]) <= 1e-9 * size).all()
    assert (np.abs(found["absorbed_stabilizer"] - [account.stabilizer for account in accounts]) <= 1e-9 * size).all()
    passed = audit[f"{step}/relevance_in"] + found["absorbed_bias"] + found["absorbed_stabilizer"]
    assert (np.abs(audit[f"{step}/relevance_out"] - passed) <= 1e-9 * size).all()


@pytest.mark.parametrize("name", LAYERS)
def test_equals_input_times_gradient_with_gates_held_fixed(name):
    model, _ = alone(LAYERS[name])
    x = signal(3, TIME, FEATURES)
    result = explain(model, x, target=2, epsilon=1e-12)
    held = tf.stop_gradient
    weights = [tf.constant(np.asarray(weight)) for weight in model.layers[-1].weights]
    inputs = tf.constant(x)
    with tf.GradientTape() as tape:
        tape.watch(inputs)
        score = _detached(name, inputs, *weights)[:, 2]
    expected = (inputs * tape.gradient(score, inputs)).numpy()
    assert held(score).shape == (3,)
    assert worst(result["relevance"], expected) <= 1e-7  # of epsilon: 1e-12 beside denominators down to 1e-5


def _detached(name, x, W, U, b):
    """A cell with its activations as products with a number held fixed, and its gates held fixed too."""
    held = tf.stop_gradient
    h = c = tf.zeros([x.shape[0], UNITS], x.dtype)

    def tanh(z):
        return z * held(tf.tanh(z) / z)

    for t in range(x.shape[1]):
        if name == "simple rnn":
            h = tanh(x[:, t] @ W + h @ U + b)
        elif name == "lstm":
            i, f, g, o = tf.split(x[:, t] @ W + h @ U + b, 4, axis=1)
            c = held(tf.sigmoid(f)) * c + held(tf.sigmoid(i)) * tanh(g)
            h = held(tf.sigmoid(o)) * tanh(c)
        else:
            b_in, b_h = tf.unstack(b) if b.shape.rank == 2 else (b, tf.zeros_like(b))
            x_z, x_r, x_g = tf.split(x[:, t] @ W + b_in, 3, axis=1)
            U_z, U_r, U_g = tf.split(U, 3, axis=1)
            b_z, b_r, b_g = tf.split(b_h, 3)
            z, r = held(tf.sigmoid(x_z + h @ U_z + b_z)), held(tf.sigmoid(x_r + h @ U_r + b_r))
            recurrent = (r * h) @ U_g if name == "gru, reset before" else r * (h @ U_g + b_g)
            h = z * h + (1 - z) * tanh(x_g + recurrent)
    return h


MASKS = np.array(
    [
        [1, 1, 1, 1, 0, 0],
        [0, 0, 1, 1, 1, 1],
        [1, 0, 1, 1, 0, 1],
        [0, 0, 0, 0, 0, 0],
        [1, 1, 1, 1, 1, 1],
    ],
    bool,
)


def masked(make, *, initial=False, head=None, **options):
    """A model with its mask as a second input, and initial states as further ones."""
    with double():
        x, mask = (
            keras.Input((TIME, FEATURES), name="x", dtype="float64"),
            keras.Input((TIME,), name="mask", dtype="bool"),
        )
        layer = make(**options)
        num_states = 2 if isinstance(layer, layers.LSTM) else 1
        states = (
            [keras.Input((UNITS,), name=f"state{i}", dtype="float64") for i in range(num_states)] if initial else []
        )
        y = layer(x, mask=mask, **({"initial_state": states} if initial else {}))
        outputs = head(y) if head else y
        return randomized(keras.Model([x, mask, *states], outputs)), Recurrent(layer)


@pytest.mark.slow
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"return_sequences": True},
        {"return_sequences": True, "zero_output_for_mask": True},
        {"zero_output_for_mask": True},
        {"go_backwards": True},
        {"unroll": True, "return_sequences": True},
    ],
    ids=str,
)
@pytest.mark.parametrize("name", LAYERS)
def test_masked_steps_hold_no_relevance_and_states_pass_over_them(name, options):
    model, oracle = masked(LAYERS[name], **options)
    x = signal(len(MASKS), TIME, FEATURES)
    target = np.array([3, 9, 12, 3, 26]) if options.get("return_sequences") else np.array([3, 4, 2, 3, 1])
    result = explain(model, x, MASKS, target=target)
    outputs = np.stack([oracle.run(example, mask=mask)[0] for example, mask in zip(x, MASKS, strict=True)])
    np.testing.assert_allclose(result[next(iter(result))], outputs, rtol=1e-10, atol=1e-14)
    expected, _ = expected_of(oracle, x, target, mask=MASKS)
    assert (result["relevance_x"][~MASKS] == 0).all()
    assert (np.abs(expected).max(axis=(1, 2)) > 0).sum() >= 3
    assert worst(result["relevance_x"], expected) <= RULE_TOLERANCE


@pytest.mark.slow
@pytest.mark.parametrize("bias", ["absorb", "share"])
@pytest.mark.parametrize("with_mask", [False, True])
@pytest.mark.parametrize("name", LAYERS)
def test_relevance_flows_into_initial_states_and_from_returned_ones(name, with_mask, bias):
    def head(returned):
        output, *states = returned
        return layers.Concatenate(name="joined")([keras.ops.reshape(output, (-1, TIME * UNITS)), *states])

    model, oracle = masked(LAYERS[name], initial=True, head=head, return_sequences=True, return_state=True)
    num_states = len(model.inputs) - 2
    mask = MASKS if with_mask else np.ones_like(MASKS)
    x = signal(len(mask), TIME, FEATURES)
    states = [signal(len(mask), UNITS, seed=5 + i) for i in range(num_states)]
    for target in (TIME * UNITS + 1, (TIME + num_states) * UNITS - 2, 2 * UNITS + 3):
        composite = Composite("own", (Assignment(EngineRule("epsilon", {"bias": bias})),), bias=bias)
        explainer = build_explainer(model, composite=composite)
        arrays = {"x": x, "mask": mask} | {f"state{i}": state for i, state in enumerate(states)}
        result, audit = call(explainer, arrays, target), call(explainer, arrays, target, "audit")
        for index in range(len(mask)):
            output, final = oracle.run(x[index], [state[index] for state in states], mask[index])
            joined = np.concatenate([output.ravel(), *final])
            np.testing.assert_allclose(result["joined"][index], joined, rtol=1e-10, atol=1e-14)
            R = joined * np.eye(joined.size)[target]
            R_output, R_states = R[: output.size].reshape(output.shape), np.split(R[output.size :], num_states)
            R_x, R_initial, _ = oracle.relevance(R_output, R_states, Rule(bias=bias))
            scale = max(np.abs(R_x).max(), *(np.abs(R).max() for R in R_initial), 1e-300)
            assert np.abs(result["relevance_x"][index] - R_x).max() <= RULE_TOLERANCE * scale
            for position, expected in enumerate(R_initial):
                found = result[f"relevance_state{position}"][index]
                assert np.abs(found - expected).max() <= RULE_TOLERANCE * scale
        assert_balanced(audit, np.abs(result["explained_value"]))


def assert_balanced(audit, size):
    for step in {name.rsplit("/", 1)[0] for name in audit}:
        names = ("relevance_out", "relevance_in", "absorbed_bias", "absorbed_stabilizer")
        out, passed, by_bias, by_stabilizer = (audit[f"{step}/{what}"] for what in names)
        gap = np.abs(out - passed - by_bias - by_stabilizer)
        assert (gap <= 1e-9 * (size + np.abs(out) + np.abs(passed))).all(), step


def test_padding_changes_nothing():
    with double():
        x = keras.Input((None, FEATURES), name="x", dtype="float64")
        h = layers.Bidirectional(layers.LSTM(UNITS, return_sequences=True))(layers.Masking(0.0)(x))
        h = layers.Bidirectional(layers.GRU(UNITS), merge_mode="sum")(h)
        model = randomized(keras.Model(x, layers.Dense(3)(h)))
    explainer = build_explainer(model)
    short = signal(2, 5, FEATURES)
    padded = np.concatenate([short, np.zeros((2, 14, FEATURES))], axis=1)
    expected, found = (call(explainer, {"x": values}, 1)["relevance"] for values in (short, padded))
    assert (found[:, 5:] == 0).all()
    assert worst(found[:, :5], expected) <= RULE_TOLERANCE


def test_tokens_of_a_masked_embedding_are_explained():
    with double():
        tokens = keras.Input((None,), name="tokens", dtype="int32")
        h = layers.LSTM(UNITS)(layers.Embedding(9, FEATURES, mask_zero=True, name="embedding")(tokens))
        model = randomized(keras.Model(tokens, h))
    oracle = Recurrent(model.layers[-1])
    values = np.array([[3, 1, 8, 0, 0], [2, 2, 5, 7, 1]], np.int32)
    result = explain(model, values, target=1)
    table = np.asarray(model.get_layer("embedding").embeddings)
    expected, _ = expected_of(oracle, table[values], [1, 1], mask=values != 0)
    assert (result["relevance"][values == 0] == 0).all()
    assert worst(result["relevance"], expected.sum(axis=-1)) <= 1e-6  # relevance of whole numbers is float32


@pytest.mark.slow
@pytest.mark.parametrize("merge", ["concat", "sum", "ave", "mul"])
@pytest.mark.parametrize("sequences", [False, True])
def test_bidirectional_equals_its_two_layers(merge, sequences):
    model = functional(
        lambda x: layers.Bidirectional(layers.GRU(UNITS, return_sequences=sequences), merge_mode=merge)(x),
        (TIME, FEATURES),
    )
    both = model.layers[-1]
    oracles = [Recurrent(both.forward_layer), Recurrent(both.backward_layer)]
    x = signal(2, TIME, FEATURES)
    target = 2 * UNITS + 1 if sequences else 1
    found = explain(model, x, target=target)["relevance"]
    expected = np.zeros_like(x)
    for index in range(2):
        outputs = [oracle.run(x[index])[0] for oracle in oracles]
        if sequences:
            outputs[1] = outputs[1][::-1]
        shares = _merge_backwards(merge, outputs, target)
        for oracle, share, backwards in zip(oracles, shares, (False, True), strict=True):
            expected[index] += oracle.relevance(share[::-1] if backwards and sequences else share)[0]
    assert worst(found, expected) <= RULE_TOLERANCE


def _merge_backwards(merge, outputs, target):
    """Relevance of both halves, for one element of the merged output."""
    a, b = outputs
    merged = {"concat": np.concatenate([a, b], -1), "sum": a + b, "ave": (a + b) / 2, "mul": a * b}[merge]
    R = merged * np.eye(merged.size)[target].reshape(merged.shape)
    if merge == "concat":
        return np.split(R, 2, axis=-1)
    if merge == "mul":
        return R / 2, R / 2
    total = a + b
    c = R / (total + 1e-6 * np.where(total >= 0, 1, -1))
    return a * c, b * c


def test_encoder_passes_relevance_through_its_states_to_its_input():
    def build(source, target):
        _, *states = layers.LSTM(UNITS, return_state=True, name="encoder")(source)
        return layers.LSTM(UNITS, name="decoder")(target, initial_state=states)

    model = functional(build, (TIME, FEATURES), (3, 2))
    encoder, decoder = (Recurrent(model.get_layer(name)) for name in ("encoder", "decoder"))
    x, y = signal(2, TIME, FEATURES), signal(2, 3, 2, seed=4)
    first, second = relevance_of(explain(model, x, y, target=3))
    for index in range(2):
        _, states = encoder.run(x[index])
        output, _ = decoder.run(y[index], states)
        R_y, R_states, _ = decoder.relevance(output * np.eye(UNITS)[3])
        R_x, _, _ = encoder.relevance(np.zeros(UNITS), R_states)
        assert worst(second[None, index], R_y[None]) <= RULE_TOLERANCE
        assert worst(first[None, index], R_x[None]) <= RULE_TOLERANCE


@pytest.mark.slow
@pytest.mark.parametrize("go_backwards", [False, True])
@pytest.mark.parametrize("with_mask", [False, True])
def test_stacked_cells_equal_stacked_layers(with_mask, go_backwards):
    def cells():
        return [layers.LSTMCell(4), layers.GRUCell(UNITS), layers.SimpleRNNCell(3)]

    with double():
        x, mask = (
            keras.Input((TIME, FEATURES), name="x", dtype="float64"),
            keras.Input((TIME,), name="mask", dtype="bool"),
        )
        y, *states = layers.RNN(cells(), return_sequences=True, return_state=True, go_backwards=go_backwards)(
            x, mask=mask if with_mask else None
        )
        y = keras.ops.reshape(y, (-1, TIME * 3))
        last = layers.Concatenate()(keras.tree.flatten(states))
        model = randomized(keras.Model([x, mask], layers.Dense(2)(layers.Concatenate()([y, last]))))
        z, z_mask, finals = x, mask if with_mask else None, []
        for position, cell in enumerate(cells()):
            z, *final = layers.RNN(
                cell, return_sequences=True, return_state=True, go_backwards=go_backwards and position == 0
            )(z, mask=z_mask)
            finals += final
            if position == 0 and go_backwards and with_mask:
                z_mask = keras.ops.flip(z_mask, axis=1)
        same = keras.Model(
            [x, mask], layers.Dense(2)(layers.Concatenate()([keras.ops.reshape(z, (-1, TIME * 3)), *finals]))
        )
        same.set_weights(model.get_weights())
    arrays = signal(len(MASKS), TIME, FEATURES), MASKS
    found, expected = explain(model, *arrays, target=1), explain(same, *arrays, target=1)
    np.testing.assert_allclose(
        found[next(iter(found))], model(dict(zip(("x", "mask"), arrays, strict=True))).numpy(), rtol=1e-10
    )
    np.testing.assert_allclose(found["explained_value"], expected["explained_value"], rtol=1e-10)
    assert worst(found["relevance_x"], expected["relevance_x"]) <= RULE_TOLERANCE


@pytest.mark.slow
def test_deep_model_conserves_step_by_step():
    def build(x):
        x = layers.LSTM(UNITS, return_sequences=True, dropout=0.2, recurrent_dropout=0.1)(x)
        x = layers.LayerNormalization()(x)
        y, state = layers.GRU(UNITS, return_sequences=True, return_state=True)(x)
        x = layers.Add()([x, y])
        x = layers.Bidirectional(layers.SimpleRNN(UNITS))(x)
        return layers.Dense(3, activation="softmax")(layers.Concatenate()([x, state]))

    model = functional(build, (TIME, FEATURES))
    x = signal(3, TIME, FEATURES)
    for bias in ("absorb", "ignore", "share"):
        explainer = build_explainer(model, bias=bias, epsilon=1e-3)
        result = call(explainer, {"x0": x})
        assert np.isfinite(result["relevance"]).all()
        assert_balanced(call(explainer, {"x0": x}, -1, "audit"), np.abs(result["explained_value"]))


def test_time_distributed_layer_equals_the_layer_on_the_sequence():
    models = [
        functional(lambda x, wrap=wrap: layers.LSTM(UNITS)(wrap(layers.Dense(FEATURES))(x)), (TIME, FEATURES))
        for wrap in (layers.TimeDistributed, lambda layer: layer)
    ]
    found, expected = (explain(model, signal(2, TIME, FEATURES), target=1)["relevance"] for model in models)
    assert worst(found, expected) <= RULE_TOLERANCE


@pytest.mark.parametrize("scale", [0.0, 1e4])
@pytest.mark.parametrize("name", LAYERS)
def test_zero_inputs_and_saturated_gates_are_finite(name, scale):
    with double():
        x = keras.Input((TIME, FEATURES), dtype="float32")
        model = keras.Model(x, LAYERS[name](dtype="float32", return_sequences=True)(x))
    values = (scale * signal(2, TIME, FEATURES)).astype(np.float32)
    for epsilon in (0.0, 1e-6):
        result = explain(model, values, target=TIME * UNITS - 1, composite="epsilon", epsilon=epsilon)
        assert result["relevance"].dtype == np.float32
        assert np.isfinite(result["relevance"]).all()


def test_single_precision_equals_double():
    model, _ = alone(LAYERS["lstm"], time=None)
    single = keras.Sequential([keras.Input((None, FEATURES)), layers.LSTM(UNITS)])
    single.set_weights([np.asarray(weight, np.float32) for weight in model.get_weights()])
    x = signal(4, 50, FEATURES)
    expected = explain(model, x, target=1)["relevance"]
    assert worst(explain(single, x.astype(np.float32), target=1)["relevance"], expected) < 1e-4


def test_stateful_layer_is_refused():
    model = keras.Sequential([keras.Input(batch_shape=(2, 3, FEATURES)), layers.LSTM(UNITS, stateful=True)])
    with pytest.raises(ExplainError, match=r"Layer 'lstm.*' is stateful: .*stateful=False"):
        build_explainer(model)


@pytest.mark.parametrize(("rule", "epsilon"), [("zero", 0.0), ("norm", 1e-6)])
def test_cases_of_the_epsilon_rule_have_their_own_stabilizer(rule, epsilon):
    model, _ = alone(LAYERS["lstm"])
    x = signal(2, TIME, FEATURES)
    composites = [Composite("own", (Assignment(each),)) for each in (EngineRule(rule), EngineRule("epsilon"))]
    found, other = (explain(model, x, target=1, composite=composite)["relevance"] for composite in composites)
    np.testing.assert_array_equal(found, explain(model, x, target=1, composite="epsilon", epsilon=epsilon)["relevance"])
    assert np.array_equal(found, other) == (epsilon == 1e-6)


def test_other_rule_than_epsilon_is_refused():
    model, _ = alone(LAYERS["lstm"])
    with pytest.raises(CompositeError, match=r"take the rule 'epsilon' .*Received: rule 'z_plus' for layer 'lstm"):
        build_explainer(model, composite=Composite("own", (Assignment(EngineRule("z_plus")),)))


class OwnCell(layers.SimpleRNNCell):
    def call(self, sequence, states, training=False):
        return super().call(2 * sequence, states, training)


def test_cell_of_unknown_kind_is_refused_by_name():
    model = functional(lambda x: layers.RNN(OwnCell(UNITS), name="own")(x), (None, FEATURES))
    with pytest.raises(UnsupportedOperationError, match="own"):
        build_explainer(model)


def test_layers_are_left_as_they_were():
    model, _ = alone(LAYERS["lstm"])
    x = signal(2, TIME, FEATURES)
    before = model.get_config(), model({"x0": x}).numpy()
    build_explainer(model)
    assert model.get_config() == before[0]
    assert model.layers[-1].use_cudnn == "auto"
    np.testing.assert_array_equal(model({"x0": x}).numpy(), before[1])
