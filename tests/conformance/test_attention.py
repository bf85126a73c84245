"""Networks with attention equal the NumPy oracle, whose equations are AttnLRP's and CP-LRP's.

The oracle has one stabilizer for each sum as the papers write it, the engine one for each that is traced; with 1e-12
the two agree.
"""

from functools import partial

import keras
import numpy as np
import pytest
from keras import layers

from tests.conformance.families import TOKENS, WIDTH, Positions
from tests.explain.running import double, explain, randomized, signal, worst
from tests.oracles.from_keras import network_of

TOLERANCE = 1e-6
LENGTH, HEADS, CLASSES = 7, 2, 3
TARGET = np.array([-1, 0, 2])

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("hardly_stabilized")]


def encoder(*, padding, causal, blocks=2):
    """A classifier of tokens whose blocks normalize first."""
    with double():
        x = keras.Input((LENGTH,), dtype="int32", name="tokens")
        h = Positions()(layers.Embedding(TOKENS, WIDTH, mask_zero=padding)(x))
        for _ in range(blocks):
            y = layers.LayerNormalization()(h)
            h = layers.Add()([h, layers.MultiHeadAttention(HEADS, 4)(y, y, use_causal_mask=causal)])
            y = layers.Dense(4 * WIDTH, activation="gelu")(layers.LayerNormalization()(h))
            h = layers.Add()([h, layers.Dense(WIDTH)(y)])
        h = layers.GlobalAveragePooling1D()(layers.LayerNormalization()(h))
        return randomized(keras.Model(x, layers.Dense(CLASSES, activation="softmax")(h)))


def tokens(*, padding):
    found = np.random.default_rng(0).integers(1, TOKENS, (len(TARGET), LENGTH)).astype(np.int32)
    return np.where(np.arange(LENGTH) < LENGTH - 2 * np.arange(len(TARGET))[:, None], found, 0) if padding else found


@pytest.mark.parametrize("composite", ["attnlrp", "cp_lrp"])
@pytest.mark.parametrize("causal", [False, True], ids=["", "causal"])
@pytest.mark.parametrize("padding", [False, True], ids=["", "padding"])
def test_an_encoder_equals_the_oracle(padding, causal, composite):
    model, inputs = encoder(padding=padding, causal=causal), {"tokens": tokens(padding=padding)}
    result = explain(model, *inputs.values(), target=TARGET, composite=composite, epsilon=1e-12)
    network = network_of(model)
    scores = np.take_along_axis(network.predict(inputs), result["target"][:, None], axis=1)[:, 0]
    np.testing.assert_allclose(result["explained_value"], scores, rtol=TOLERANCE)
    expected = network.explain(inputs, result["target"], composite=composite, epsilon=1e-12)["tokens"]
    assert np.abs(expected).max() > 1e-2
    assert worst(result["relevance"], expected) < TOLERANCE


ATTENTION = {
    # The layer, whether it takes its signals as a list, and whether it is causal.
    "multi-head": (partial(layers.MultiHeadAttention, HEADS, 4, value_dim=3), False, False),
    "grouped query": (partial(layers.GroupQueryAttention, 4, 4, 2), False, False),
    "grouped query, causal": (partial(layers.GroupQueryAttention, 4, 2, 1), False, True),
    "dot": (layers.Attention, True, False),
    "dot, scaled and causal": (partial(layers.Attention, use_scale=True), True, True),
    "additive": (layers.AdditiveAttention, True, False),
    "additive, unscaled and causal": (partial(layers.AdditiveAttention, use_scale=False), True, True),
}


@pytest.mark.parametrize("composite", ["attnlrp", "cp_lrp"])
@pytest.mark.parametrize("name", ATTENTION)
def test_attention_of_one_signal_to_another_equals_the_oracle(name, composite):
    make, listed, causal = ATTENTION[name]
    with double():
        x, y = (keras.Input((LENGTH, WIDTH), name=each, dtype="float64") for each in "xy")
        signals = x, layers.Dense(WIDTH)(y)
        h = make()(*([list(signals)] if listed else signals), use_causal_mask=causal)
        h = layers.RMSNormalization()(h)
        h = layers.Multiply()([layers.Dense(WIDTH, activation="silu")(h), layers.Dense(WIDTH)(h)])
        model = randomized(keras.Model([x, y], layers.Dense(CLASSES)(layers.Flatten()(h))))
    inputs = {each: signal(len(TARGET), LENGTH, WIDTH, seed=seed) for seed, each in enumerate("xy")}
    result = explain(model, *inputs.values(), target=TARGET, composite=composite, epsilon=1e-12)
    expected = network_of(model).explain(inputs, result["target"], composite=composite, epsilon=1e-12)
    scale = np.abs(expected["y"]).max(axis=(1, 2), keepdims=True)
    assert (scale > 1e-4).all()
    assert (np.abs(expected["x"]) > 1e-2 * scale).any() == (composite == "attnlrp")  # a gate leaves queries nothing
    for each in "xy":
        assert (np.abs(result[f"relevance_{each}"] - expected[each]) / scale).max() < TOLERANCE, each
