# ruff: noqa: PLW0108 - layers are made inside the lambda, while the policy is float64
import re

import keras
import pytest
from keras import layers, ops

from explain import build_explainer
from tests.explain.running import functional

WIDTH = 4


def block(x, name="heads", **call):
    return x + layers.MultiHeadAttention(2, 3, name=name)(x, x, **call)


def pooled(x):
    return layers.Dense(3, activation="softmax")(layers.GlobalAveragePooling1D()(x))


def vision_transformer(x):
    x = layers.Conv2D(WIDTH, 4, strides=4)(x)
    return pooled(block(layers.Reshape((4, WIDTH))(x)))


def grouped(x):
    heads = layers.GroupQueryAttention(head_dim=3, num_query_heads=2, num_key_value_heads=1, name="groups")
    return pooled(heads(x, x))


class Written(layers.Layer):
    """Attention as a stranger writes it."""

    def call(self, x):
        scores = ops.matmul(x, ops.transpose(x, (0, 2, 1))) / 2.0
        return ops.matmul(keras.activations.softmax(scores), x)


def squeeze_and_excitation(x, activation="sigmoid"):
    x = layers.Conv2D(WIDTH, 3, activation="relu")(x)
    gate = layers.Dense(WIDTH, activation=activation)(layers.GlobalAveragePooling2D(keepdims=True)(x))
    return layers.Dense(3, activation="softmax")(layers.Flatten()(x * gate))


def mixture_of_experts(x):
    weights = layers.Dense(2, activation="softmax")(x)  # (batch, experts)
    experts = ops.stack([layers.Dense(3)(x), layers.Dense(3)(x)], axis=1)
    return ops.einsum("be,bec->bc", weights, experts)


def softmax_above_a_product(x):
    scores = layers.Dot(axes=(2, 2))([x, x])
    return layers.Dense(3)(layers.Flatten()(layers.Softmax()(scores)))


CASES = {
    "transformer": (lambda x: pooled(block(block(x, "first"), "second")), (6, WIDTH), "attnlrp", "in first, second"),
    "masked": (lambda x: pooled(block(x, use_causal_mask=True)), (6, WIDTH), "attnlrp", "in heads"),
    "vision transformer": (vision_transformer, (8, 8, 1), "attnlrp", "attention and convolutions .*in heads"),
    "grouped queries": (grouped, (6, WIDTH), "attnlrp", "in groups"),
    "dot product": (lambda x: pooled(layers.Attention(name="dot")([x, x])), (6, WIDTH), "attnlrp", "in dot"),
    "written out": (lambda x: pooled(Written(name="own")(x)), (6, WIDTH), "attnlrp", "in own"),
    "additive": (lambda x: pooled(layers.AdditiveAttention()([x, x])), (6, WIDTH), "epsilon", "no attention"),
    "sigmoid gate": (squeeze_and_excitation, (6, 6, 1), "epsilon_plus", "it has convolutions"),
    "softmax gate": (lambda x: squeeze_and_excitation(x, "softmax"), (6, 6, 1), "epsilon_plus", "it has convolutions"),
    "experts": (mixture_of_experts, (WIDTH,), "epsilon", "no attention"),
    "softmax above a product": (softmax_above_a_product, (6, WIDTH), "epsilon", "no attention"),
    "classifier": (lambda x: layers.Dense(3, activation="softmax")(x), (WIDTH,), "epsilon", "no attention"),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_a_softmax_between_two_products_is_attention_and_no_other(name):
    build, shape, composite, reason = CASES[name]
    explainer = build_explainer(functional(build, shape), try_out=False)
    assert explainer.composite == composite
    assert re.search(reason, explainer.composite_reason)
