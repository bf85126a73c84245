# ruff: noqa: PLW0108 - layers are made inside the lambda, while the policy is float64
"""Layers whose operations have no test file of their own, each as a small model.

What is linear in its input is explained by input times gradient, whatever it computes; what has gates, norms or
attention conserves.
"""

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers, ops

from explain import build_explainer
from tests.explain.running import call, explain, functional, randomized, signal, worst

IMAGE, SEQUENCE = (8, 8, 4), (12, 3)

LINEAR = {
    "depthwise": (lambda: layers.DepthwiseConv2D(3, padding="same", use_bias=False), IMAGE),
    "depthwise, strides, multiplier": (
        lambda: layers.DepthwiseConv2D(3, strides=2, depth_multiplier=2, use_bias=False),
        IMAGE,
    ),
    "depthwise 1d, dilated": (lambda: layers.DepthwiseConv1D(3, dilation_rate=2, use_bias=False), SEQUENCE),
    "separable, dilated": (lambda: layers.SeparableConv2D(5, 3, dilation_rate=2, use_bias=False), IMAGE),
    "grouped, strides": (lambda: layers.Conv2D(8, 3, groups=2, strides=2, use_bias=False), IMAGE),
    "transposed": (lambda: layers.Conv2DTranspose(3, 3, strides=2, padding="same", use_bias=False), IMAGE),
    "transposed 1d": (lambda: layers.Conv1DTranspose(3, 3, strides=2, use_bias=False), SEQUENCE),
    "transposed 3d": (lambda: layers.Conv3DTranspose(2, 3, strides=2, use_bias=False), (4, 4, 4, 2)),
    "resizing": (lambda: layers.Resizing(11, 5), IMAGE),
    "resizing, nearest": (lambda: layers.Resizing(5, 13, interpolation="nearest"), IMAGE),
    "upsampling": (lambda: layers.UpSampling2D((2, 3)), IMAGE),
    "upsampling, bilinear": (lambda: layers.UpSampling2D(2, interpolation="bilinear"), IMAGE),
    "upsampling 1d": (lambda: layers.UpSampling1D(3), SEQUENCE),
    "einsum": (lambda: layers.EinsumDense("abc,cde->abde", (12, 2, 5)), SEQUENCE),
    "cropping": (lambda: layers.Cropping2D(((1, 2), (0, 3))), IMAGE),
    "repeat": (lambda: layers.RepeatVector(4), (5,)),
}

INTERPOLATED = {"resizing", "resizing, nearest", "upsampling, bilinear"}  # not of raw input, which these leave whole


@pytest.mark.parametrize("name", LINEAR)
def test_a_linear_layer_gives_input_times_gradient(name):
    make, shape = LINEAR[name]
    mixed = layers.Conv2D(4, 1, use_bias=False, dtype="float64") if name in INTERPOLATED else lambda x: x
    model = functional(lambda x: layers.Dense(3, use_bias=False)(layers.Flatten()(make()(mixed(x)))), shape)
    x = signal(3, *shape) * (100 if name in INTERPOLATED else 1)
    result = explain(model, x, target=1, composite="epsilon", epsilon=1e-12)
    source = tf.constant(x)
    with tf.GradientTape() as tape:
        tape.watch(source)
        score = model(source)[:, 1]
    expected = (source * tape.gradient(score, source)).numpy()
    # Resizing shares by zennit's `Norm`, whose stabiliser of 1e-6 counts where a result is small; in float32, too.
    assert worst(result["relevance"], expected) < (1e-4 if name in INTERPOLATED else 1e-7)


NORMS = {
    "layer": (lambda: layers.LayerNormalization(), SEQUENCE),
    "group": (lambda: layers.GroupNormalization(2), IMAGE),
    "rms": (lambda: layers.RMSNormalization(), SEQUENCE),
    "unit": (lambda: layers.UnitNormalization(), SEQUENCE),
}


@pytest.mark.parametrize("name", NORMS)
def test_a_norm_conserves_where_it_has_no_offset(name):
    make, shape = NORMS[name]
    model = functional(lambda x: layers.Dense(3, use_bias=False)(layers.Flatten()(make()(x))), shape)
    result = explain(model, signal(3, *shape), composite="epsilon")
    np.testing.assert_allclose(result["conservation_gap"], 0, atol=1e-4 * np.abs(result["explained_value"]).max())
    assert np.abs(result["relevance"]).max() > 1e-3


ATTENTION = {
    "multi-head": lambda h: layers.MultiHeadAttention(2, 4, use_bias=False)(h, h),
    "multi-head, causal": lambda h: layers.MultiHeadAttention(2, 4, use_bias=False)(h, h, use_causal_mask=True),
    "grouped query": lambda h: layers.GroupQueryAttention(4, 4, 2, use_bias=False)(h, h),
    "dot": lambda h: layers.Attention()([h, h]),
    "additive": lambda h: layers.AdditiveAttention()([h, h]),
}


@pytest.mark.parametrize("name", ATTENTION)
def test_attention_as_a_gate_conserves(name):
    model = functional(lambda x: layers.Dense(3, use_bias=False)(layers.Flatten()(ATTENTION[name](x))), SEQUENCE)
    result = explain(model, signal(3, *SEQUENCE), composite="cp_lrp")
    np.testing.assert_allclose(result["conservation_gap"], 0, atol=1e-4 * np.abs(result["explained_value"]).max())


def test_attention_as_a_gate_is_input_times_gradient_with_the_gate_held_fixed():
    model = functional(
        lambda x: layers.Dense(3, use_bias=False)(layers.Flatten()(layers.Attention()([x, x]))), SEQUENCE
    )
    x = signal(2, *SEQUENCE)
    result = explain(model, x, target=2, composite="cp_lrp", epsilon=1e-12)
    scores = tf.nn.softmax(tf.matmul(x, x, transpose_b=True))  # held fixed: computed outside of the tape
    source = tf.constant(x)
    with tf.GradientTape() as tape:
        tape.watch(source)
        score = model.layers[-1](tf.reshape(tf.matmul(scores, source), (2, -1)))[:, 2]
    assert worst(result["relevance"], (source * tape.gradient(score, source)).numpy()) < 1e-4


def test_attention_that_shares_gives_relevance_to_queries_and_keys():
    x, y = keras.Input(SEQUENCE, name="x", dtype="float64"), keras.Input(SEQUENCE, name="y", dtype="float64")
    attended = layers.Attention(dtype="float64")([x, y])
    flat = layers.Flatten(dtype="float64")(attended)
    model = randomized(keras.Model([x, y], layers.Dense(2, use_bias=False, dtype="float64")(flat)))
    arrays = signal(2, *SEQUENCE, seed=1), signal(2, *SEQUENCE, seed=2)
    gated = explain(model, *arrays, composite="cp_lrp")
    shared = explain(model, *arrays, composite="attnlrp")
    assert (gated["relevance_x"] == 0).all()
    assert np.abs(shared["relevance_x"]).max() > 1e-3


@pytest.mark.parametrize("blocked", [-1e9, -np.inf])
@pytest.mark.parametrize("form", ["where", "sum"])
def test_blocked_scores_hold_nothing_however_they_are_blocked(form, blocked):
    allowed = np.tri(5, dtype=bool)
    added = np.where(allowed, 0.0, blocked)

    def attend(x):
        scores = ops.matmul(x, ops.transpose(x, (0, 2, 1)))
        scores = ops.where(allowed, scores, blocked) if form == "where" else scores + added
        return layers.Dense(3)(layers.Flatten()(ops.matmul(ops.softmax(scores), x)))

    model = functional(attend, (5, 4))
    causal = functional(
        lambda x: layers.Dense(3)(layers.Flatten()(layers.Attention()([x, x], use_causal_mask=True))), (5, 4)
    )
    causal.set_weights(model.get_weights())
    x = signal(2, 5, 4)
    expected = explain(causal, x, composite="attnlrp", bias="ignore")["relevance"]
    assert worst(explain(model, x, composite="attnlrp", bias="ignore")["relevance"], expected) < 1e-9


def scored_by_a_hidden_softmax(x):
    return layers.Dense(2)(layers.Dense(3, activation="softmax")(layers.Flatten()(x)))


def scored_by_attention_written_out(x):
    scores = ops.matmul(x, ops.transpose(x, (0, 2, 1)))
    weights = ops.exp(scores - ops.max(scores, axis=-1, keepdims=True))
    weights = weights / ops.sum(weights, axis=-1, keepdims=True)
    return layers.Dense(2)(layers.Flatten()(ops.matmul(weights, x)))


@pytest.mark.parametrize(
    ("build", "composite", "operation"),
    [
        (scored_by_a_hidden_softmax, "epsilon", "Softmax"),
        (lambda x: layers.Dense(2)(layers.Flatten()(layers.Attention()([x, x]))), "attnlrp", "Softmax"),
        (scored_by_attention_written_out, "attnlrp", "RealDiv"),
    ],
)
def test_what_a_softmax_does_not_pass_on_its_linearisation_s_bias_absorbs(build, composite, operation):
    explainer = build_explainer(functional(build, SEQUENCE), composite=composite)
    audit = call(explainer, {"x0": signal(3, *SEQUENCE)}, 1, "audit")
    (step,) = {name.rpartition("/")[0] for name in audit if name.split("/")[2] == operation}
    out, passed, absorbed = (audit[f"{step}/{what}"] for what in ("relevance_out", "relevance_in", "absorbed_bias"))
    assert (np.abs(out - passed) > 1e-3).any()
    np.testing.assert_allclose(passed + absorbed, out, atol=1e-9 * np.abs([out, passed, absorbed]).max())


def test_tokens_get_the_sum_over_their_embedding():
    ids = keras.Input((6,), dtype="int32", name="ids")
    table = layers.Embedding(9, 4, dtype="float64")
    pooled = layers.GlobalAveragePooling1D(dtype="float64")(table(ids))
    model = randomized(keras.Model(ids, layers.Dense(2, use_bias=False, dtype="float64")(pooled)))
    model.set_weights([10 * np.asarray(weight) for weight in model.get_weights()])  # large against the stabiliser
    tokens = np.array([[1, 2, 3, 4, 5, 6], [8, 8, 0, 1, 0, 2]])
    result = explain(model, tokens, target=0, composite="epsilon", epsilon=1e-12)
    vectors, kernel = (np.asarray(weight) for weight in model.get_weights())
    expected = (vectors[tokens] @ kernel[:, 0]) / 6  # the mean is linear: w times x / n
    assert worst(result["relevance"], expected) < 1e-4


def test_numbers_that_occur_share_what_their_word_holds():
    numbers = keras.Input((4,), dtype="int32", name="numbers")
    occurring = layers.IntegerLookup(vocabulary=[11, 12, 13], output_mode="multi_hot")(numbers)
    model = randomized(keras.Model(numbers, layers.Dense(2, use_bias=False)(occurring)))
    result = explain(model, np.array([[11, 12, 12, 99], [13, 13, 13, 11]]), target=1, composite="epsilon")
    words, times = (
        np.array([[1, 2, 2, 0], [3, 3, 3, 1]]),
        np.array([[1, 2, 2, 1], [3, 3, 3, 1]]),
    )  # 0: out of vocabulary
    assert worst(result["relevance"], np.asarray(model.get_weights()[0])[words, 1] / times) < 1e-5


@pytest.mark.parametrize(
    ("gate", "name"), [("sigmoid", "gate"), ("hard_sigmoid", "gate"), ("softmax", "gate"), ("linear", "signal")]
)
def test_a_gate_takes_nothing_and_a_signal_half(gate, name):
    x, y = keras.Input((5,), name="x", dtype="float64"), keras.Input((5,), name="y", dtype="float64")
    factor = layers.Activation(gate, dtype="float64")(layers.Dense(5, use_bias=False, dtype="float64")(y))
    product = layers.Multiply(dtype="float64")([x, factor])
    model = randomized(keras.Model([x, y], layers.Dense(2, use_bias=False, dtype="float64")(product)))
    result = explain(model, signal(3, 5, seed=1), signal(3, 5, seed=2), composite="epsilon")
    total_y = result["relevance_y"].sum(axis=1)
    expected = 0 if name == "gate" else result["explained_value"] / 2
    np.testing.assert_allclose(total_y, expected, atol=1e-4)
    np.testing.assert_allclose(result["conservation_gap"], 0, atol=1e-4)
