# ruff: noqa: PLW0108 - layers are made inside the lambda, while the policy is float64
import numpy as np
import pytest
from keras import layers

from explain import COMPOSITES, Assignment, Composite, CompositeError, Rule, build_explainer, named_composite
from explain.named_composites import default_composite
from tests.explain.running import explain, functional, signal
from tests.oracles import rules as oracle


def rule_names(composite):
    return {kind: composite.rule(kind=kind, layer="layer", first=False).name for kind in ("dense", "convolution")}


@pytest.mark.parametrize("name", sorted(oracle.COMPOSITES))
def test_named_composites_are_zennits(name):
    assert name in COMPOSITES
    bounds = {"low": 0.0, "high": 1.0} if name == "epsilon_gamma_box" else {}
    composite = named_composite(name, epsilon=0.5, bias="share", **bounds)
    assert rule_names(composite) == oracle.COMPOSITES[name]
    rule = composite.rule(kind="dense", layer="layer", first=False)
    assert (rule.parameters["epsilon"], rule.parameters["bias"], composite.bias) == (0.5, "share", "share")


def test_an_unknown_composite_lists_the_known_ones():
    with pytest.raises(CompositeError, match=r"Expected one of epsilon, epsilon_plus.*Received: 'gradcam'"):
        named_composite("gradcam")


@pytest.mark.parametrize(
    ("options", "message"),
    [({"bias": "drop"}, r"Received: bias='drop'"), ({"epsilon": -1.0}, r"Received: epsilon=-1\.0")],
)
def test_parameters_that_do_not_fit_are_refused(options, message):
    with pytest.raises(CompositeError, match=message):
        named_composite("epsilon", **options)


def test_the_first_assignment_that_matches_wins():
    composite = Composite(
        "mine",
        (
            Assignment(Rule("z_plus"), layers=("block?_*",), first=True),
            Assignment(Rule("epsilon", {"epsilon": 0.1}), layers=("block?_*", "head")),
            Assignment(Rule("z_plus"), kinds=frozenset({"convolution"})),
            Assignment(Rule("epsilon", {"epsilon": 0.2})),
        ),
    )
    assert composite.rule(kind="dense", layer="block1_a", first=True).name == "z_plus"
    assert composite.rule(kind="dense", layer="block1_a", first=False).parameters["epsilon"] == 0.1
    assert composite.rule(kind="convolution", layer="head", first=True).parameters["epsilon"] == 0.1
    assert composite.rule(kind="convolution", layer="Block1_a", first=True).name == "z_plus"
    assert composite.rule(kind="dense", layer="other", first=True).parameters["epsilon"] == 0.2


def test_a_layer_without_a_rule_is_refused():
    composite = Composite("mine", (Assignment(Rule("z_plus"), kinds=frozenset({"convolution"})),))
    with pytest.raises(CompositeError, match=r"'mine' has no rule for layer 'head' \(dense\)"):
        composite.rule(kind="dense", layer="head", first=False)
    with pytest.raises(CompositeError, match="'mine' has no rule for layer"):
        build_explainer(functional(lambda x: layers.Dense(2)(x), (3,)), composite=composite)


@pytest.mark.parametrize(
    ("kinds", "bounds", "name", "reason"),
    [
        ({"dense"}, {}, "epsilon", "it has no convolutions"),
        ({"dense"}, {"low": 0.0, "high": 1.0}, "epsilon", "it has no convolutions"),
        ({"dense", "convolution"}, {}, "epsilon_plus", "the bounds of its input aren't known"),
        ({"dense", "convolution"}, {"low": 0.0}, "epsilon_plus", "the bounds of its input aren't known"),
        ({"convolution"}, {"low": 0.0, "high": 255.0}, "epsilon_gamma_box", "its input lies between 0 and 255"),
        (set(), {}, "epsilon", "it has no convolutions"),
    ],
)
def test_the_default_follows_from_the_operations_and_the_bounds_of_the_input(kinds, bounds, name, reason):
    composite = default_composite(kinds, epsilon=0.5, bias="ignore", **bounds)
    assert (composite.name, composite.bias) == (name, "ignore")
    assert reason in composite.reason


def test_the_default_hands_the_bounds_to_the_first_layer():
    composite = default_composite({"convolution"}, low=-1.0, high=2.0)
    first = composite.rule(kind="convolution", layer="any", first=True)
    assert (first.name, first.parameters["low"], first.parameters["high"]) == ("z_box", -1.0, 2.0)


def test_a_composite_of_ones_own_tells_first_layers_from_others():
    """`first` means: no layer with weights below, on whatever branch."""

    def build(x, y):
        a = layers.Dense(3, name="a1", activation="relu")(layers.Rescaling(2.0)(x))
        b = layers.Dense(3, name="b2")(layers.Dense(3, name="b1")(y))
        return layers.Dense(2, name="top")(layers.Concatenate()([a, b]))

    composite = Composite("mine", (Assignment(Rule("z_plus"), first=True), Assignment(Rule("epsilon"))))
    explainer = build_explainer(functional(build, (4,), (5,)), composite=composite)
    assert {entry["layer"]: entry["rule"] for entry in explainer.rules} == {
        "a1": "z_plus",
        "b1": "z_plus",
        "b2": "epsilon",
        "top": "epsilon",
    }
    assert (explainer.composite, explainer.composite_reason) == ("mine", "asked for")


def test_a_rule_by_name_of_a_layer_is_the_one_that_is_applied():
    model = functional(lambda x: layers.Dense(2, name="top")(layers.Dense(4, name="low", activation="tanh")(x)), (3,))
    x = signal(2, 3)
    mixed = Composite("mine", (Assignment(Rule("z_plus"), layers=("low",)), Assignment(Rule("epsilon"))))
    plain = Composite("plain", (Assignment(Rule("epsilon")),))
    first, second, named = (explain(model, x, composite=c)["relevance"] for c in (mixed, plain, "epsilon"))
    np.testing.assert_array_equal(second, named)
    assert not np.allclose(first, second)
