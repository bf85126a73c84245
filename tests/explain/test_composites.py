# ruff: noqa: PLW0108 - layers are made inside the lambda, while the policy is float64
import numpy as np
import pytest
from keras import layers

from explain import Assignment, Composite, CompositeError, Rule, build_explainer
from tests.explain.layer_facts import layer
from tests.explain.running import explain, functional, signal

CONVOLUTIONS = frozenset({"convolution"})
EPSILON = Assignment(Rule("epsilon"))


def image_classifier(x):
    x = layers.Conv2D(2, 3, name="conv", activation="relu")(x)
    return layers.Dense(3, name="head")(layers.Flatten()(layers.MaxPooling2D(name="pool")(x)))


def test_the_first_assignment_that_matches_wins():
    composite = Composite(
        "mine",
        (
            Assignment(Rule("z_plus"), layers=("block?_*",), first=True),
            Assignment(Rule("epsilon", {"epsilon": 0.1}), layers=("block?_*", "head")),
            Assignment(Rule("z_plus"), kinds=CONVOLUTIONS),
            Assignment(Rule("epsilon", {"epsilon": 0.2})),
        ),
    )
    assert composite.rule(layer("block1_a", first=True)).name == "z_plus"
    assert composite.rule(layer("block1_a")).parameters["epsilon"] == 0.1
    assert composite.rule(layer("head", "convolution", first=True)).parameters["epsilon"] == 0.1
    assert composite.rule(layer("Block1_a", "convolution", first=True)).name == "z_plus"
    assert composite.rule(layer("other", first=True)).parameters["epsilon"] == 0.2


@pytest.mark.parametrize(
    ("conditions", "matches"),
    [
        ({}, True),
        ({"kinds": frozenset({"dense"})}, True),
        ({"kinds": CONVOLUTIONS}, False),
        ({"layers": ("que*",)}, True),
        ({"layers": ("attention_1",)}, True),  # it lies in that
        ({"layers": ("Query",)}, False),
        ({"types": ("Conv2D", "EinsumDense")}, True),
        ({"types": ("MultiHeadAttention",)}, True),
        ({"types": ("Einsum",)}, True),  # the operation
        ({"types": ("Einsum*",)}, False),
        ({"first": True}, False),
        ({"last": True}, True),
        ({"position": 2}, True),
        ({"position": -1}, True),
        ({"position": 0}, False),
        ({"position": 1, "last": True}, False),
    ],
)
def test_a_layer_matches_by_name_type_and_position(conditions, matches):
    query = layer(
        "query", types=("Einsum", "EinsumDense", "MultiHeadAttention"), position=2, last=True, within=("attention_1",)
    )
    assert Assignment(Rule("zero"), **conditions).matches(query) == matches


def test_a_layer_without_a_rule_is_refused():
    composite = Composite("mine", (Assignment(Rule("z_plus"), kinds=CONVOLUTIONS),))
    with pytest.raises(CompositeError, match=r"'mine' has no rule for layer 'head' \(dense\)"):
        composite.rule(layer("head"))
    with pytest.raises(CompositeError, match="'mine' has no rule for layer 'head'"):
        build_explainer(functional(image_classifier, (6, 6, 1)), composite=composite)


@pytest.mark.parametrize(
    ("conditions", "message"),
    [
        ({"kinds": frozenset({"recurrent"})}, r"for kinds = \['recurrent'\], and nothing is all that"),
        ({"layers": ("conv", "pool")}, r"and nothing is called 'pool'"),
        ({"types": ("Conv2D", "MaxPooling2D")}, r"and nothing is called 'MaxPooling2D'"),
        ({"types": ("Conv2D",), "layers": ("head",)}, r"layers = \('head',\), types = .*and nothing is all that"),
        ({"position": 2}, r"for position = 2, and nothing is all that"),
        ({"first": True, "position": -1}, r"for first = True, position = -1, and nothing is all that"),
    ],
)
def test_an_assignment_that_matches_no_layer_is_refused_with_the_layers_there_are(conditions, message):
    composite = Composite("mine", (Assignment(Rule("zero"), **conditions), EPSILON))
    listed = r".*: conv \(Conv2D\), head \(Dense, MatMul\)\."
    with pytest.raises(CompositeError, match=rf"'mine' has rule 'zero' .*{message}{listed}"):
        build_explainer(functional(image_classifier, (6, 6, 1)), composite=composite)


def test_a_composite_of_ones_own_takes_no_options_beside_it():
    composite = Composite("mine", (EPSILON,))
    model = functional(lambda x: layers.Dense(2)(x), (3,))
    with pytest.raises(CompositeError, match=r"Received: epsilon=0\.5, gamma=3 beside composite 'mine'\. Write them"):
        build_explainer(model, composite=composite, epsilon=0.5, gamma=3)


def test_an_explainer_tells_the_stabilizer_and_the_bias_of_its_composite():
    mixed = (Assignment(Rule("epsilon", {"epsilon": 0.25}), layers=("low",)), Assignment(Rule("zero")))
    model = functional(lambda x: layers.Dense(2, name="top")(layers.Dense(4, name="low")(x)), (3,))
    explainer = build_explainer(model, composite=Composite("mine", mixed, bias="share"))
    assert (explainer.epsilon, explainer.bias) == (0.25, "share")
    named = build_explainer(model, composite="epsilon", bias="ignore")
    assert (named.epsilon, named.bias) == (1e-6, "ignore")


def test_a_rule_by_name_of_a_layer_is_the_one_that_is_applied():
    model = functional(lambda x: layers.Dense(2, name="top")(layers.Dense(4, name="low", activation="tanh")(x)), (3,))
    x = signal(2, 3)
    mixed = Composite("mine", (Assignment(Rule("z_plus"), layers=("low",)), EPSILON))
    plain = Composite("plain", (EPSILON,))
    first, second, named = (explain(model, x, composite=c)["relevance"] for c in (mixed, plain, "epsilon"))
    np.testing.assert_array_equal(second, named)
    assert not np.allclose(first, second)
