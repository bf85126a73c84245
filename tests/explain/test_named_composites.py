import re

import pytest

from explain import COMPOSITES, CompositeError, named_composite
from explain.named_composites import default_composite
from tests.explain.layer_facts import layer
from tests.oracles import rules as oracle


def rule_names(composite, *, first=False):
    return {kind: composite.rule(layer(kind=kind, first=first)).name for kind in ("dense", "convolution")}


@pytest.mark.parametrize("name", sorted(oracle.COMPOSITES))
def test_named_composites_are_zennits(name):
    assert name in COMPOSITES
    bounds = {"low": 0.0, "high": 1.0} if name == "epsilon_gamma_box" else {}
    composite = named_composite(name, epsilon=0.5, bias="share", **bounds)
    assert rule_names(composite) == oracle.COMPOSITES[name]
    assert rule_names(composite, first=True) == oracle.COMPOSITES[name] | oracle.FIRST.get(name, {})
    assert composite.rule(layer(kind="recurrent", first=True)).name == "epsilon"  # no other is defined for them
    rule = composite.rule(layer())
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


@pytest.mark.parametrize(
    ("kinds", "attention", "options", "name", "reason"),
    [
        ({"dense"}, (), {}, "epsilon", "it has no convolutions and no attention"),
        ({"dense"}, (), {"input_range": (0.0, 1.0)}, "epsilon", "it has no convolutions"),
        ({"dense", "convolution"}, (), {}, "epsilon_plus", "the bounds of its input aren't known"),
        ({"convolution"}, (), {"low": 0.0, "high": 255.0}, "epsilon_gamma_box", "its input lies between 0 and 255"),
        ({"convolution"}, (), {"input_range": (0.0, 255.0)}, "epsilon_gamma_box", "its input lies between 0 and 255"),
        (set(), (), {}, "epsilon", "it has no convolutions"),
        ({"dense"}, ("a", "b"), {}, "attnlrp", r"softmax attention \(softmax between two products in a, b\)"),
        ({"dense", "recurrent"}, ("a",), {}, "attnlrp", r"more faithful in language models .*\(Achtibat et al. 2024\)"),
        ({"dense", "convolution"}, ("a",), {"input_range": (0.0, 1.0)}, "attnlrp", "attention and convolutions"),
        ({"dense"}, ("a", "b", "c", "d", "e"), {}, "attnlrp", "in a, b, c and 2 more"),
    ],
)  # fmt: skip
def test_the_default_follows_from_the_operations_and_the_bounds_of_the_input(kinds, attention, options, name, reason):
    composite = default_composite(kinds, attention=attention, epsilon=0.5, bias="ignore", **options)
    assert (composite.name, composite.bias) == (name, "ignore")
    assert re.search(reason, composite.reason)


def test_the_default_hands_the_bounds_to_the_first_layer_and_what_is_asked_for_wins():
    composite = default_composite({"convolution"}, low=-1.0, high=2.0, input_range=(0.0, 1.0))
    first = composite.rule(layer(kind="convolution", first=True))
    assert (first.name, first.parameters["low"], first.parameters["high"]) == ("z_box", -1.0, 2.0)


@pytest.mark.parametrize(
    ("kinds", "attention", "options", "message"),
    [
        ({"convolution"}, (), {"low": 0.0}, r"`low` and `high` go together.*Received: low=0\.0, high=None"),
        ({"dense"}, (), {"low": 0.0, "high": 1.0}, r"'epsilon' \(chosen by .* no rule that takes high, low\. Leave"),
        ({"dense"}, (), {"gamma": 3.0}, r"'epsilon' \(chosen by .* no rule that takes gamma\."),
        ({"convolution"}, (), {"gamma": 3.0}, r"'epsilon_plus' \(chosen by .* no rule that takes gamma\."),
        ({"convolution"}, ("a",), {"low": 0.0, "high": 1.0}, r"'attnlrp' \(chosen by .* takes high, low\."),
    ],
)
def test_what_the_default_has_no_use_for_is_refused(kinds, attention, options, message):
    with pytest.raises(CompositeError, match=message):
        default_composite(kinds, attention=attention, **options)


@pytest.mark.parametrize("name", COMPOSITES)
def test_attention_is_hardly_stabilized_and_all_else_as_zennit_has_it(name):
    bounds = {"low": 0.0, "high": 1.0} if name == "epsilon_gamma_box" else {}
    composite = named_composite(name, **bounds)
    of_attention = name in {"attnlrp", "cp_lrp"}
    assert composite.stabilizer == (1e-12 if of_attention else None)
    assert {assignment.rule.epsilon for assignment in composite.assignments if assignment.rule.name == "epsilon"} == {
        1e-12 if of_attention else 1e-6
    }
    assert named_composite(name, epsilon=0.5, **bounds).stabilizer == (1e-6 if of_attention else None)
