"""Relevance equals that of the NumPy oracle and of the gradient oracle."""

import numpy as np
import pytest

from explain import build_explainer
from tests.conformance.cases import CASES, double_model
from tests.conformance.tracing import Explanation, relevances
from tests.explain.running import explain, worst
from tests.oracles.gradient import input_times_gradient

# A float64 pass through a whole network; a rule alone is held to 1e-9.
TOLERANCE = 1e-6
LAYERED = [case for case in CASES if case.network]


@pytest.mark.slow
@pytest.mark.parametrize("bias", ["absorb", "ignore", "share"])
@pytest.mark.parametrize("composite", ["epsilon", "epsilon_plus"])
@pytest.mark.parametrize("case", LAYERED, ids=lambda case: case.name)
def test_relevance_equals_the_oracle(case, composite, bias):
    model, inputs = double_model(case), case.samples(4)
    network = case.network(model)
    target = [-1, 3, -1, 7]
    result = explain(model, *inputs.values(), target=target, composite=composite, bias=bias)
    expected = network.explain(inputs, target, composite=composite, bias=bias)
    assert worst(result["relevance"], expected["image"]) < TOLERANCE
    scores = network.predict(inputs)
    chosen = np.where(np.array(target) < 0, scores.argmax(axis=1), target)
    np.testing.assert_allclose(result["explained_value"], scores[np.arange(4), chosen], rtol=1e-9)
    np.testing.assert_array_equal(result["target"], chosen)


OTHERS = {
    "epsilon_plus_flat": {},
    "epsilon_alpha2_beta1": {},
    "epsilon_alpha2_beta1_flat": {},
    "epsilon_gamma_box": {"low": 0.0, "high": 16.0},
}


@pytest.mark.slow
@pytest.mark.parametrize("bias", ["absorb", "ignore"])
@pytest.mark.parametrize("composite", OTHERS)
@pytest.mark.parametrize("case", LAYERED, ids=lambda case: case.name)
def test_relevance_of_the_other_composites_equals_the_oracle(case, composite, bias):
    model, inputs, bounds = double_model(case), case.samples(3), OTHERS[composite]
    result = explain(model, *inputs.values(), target=2, composite=composite, bias=bias, **bounds)
    expected = case.network(model).explain(inputs, [2] * 3, composite=composite, bias=bias, **bounds)
    assert worst(result["relevance"], expected["image"]) < TOLERANCE


GRADIENTS = [
    pytest.param(case, composite, id=f"{case.name}-{composite}")
    for case in CASES
    for composite in (("cp_lrp", "attnlrp") if case.name in {"transformer", "decoder"} else ("epsilon",))
]


@pytest.mark.slow
@pytest.mark.usefixtures("hardly_stabilized")
@pytest.mark.parametrize(("case", "composite"), GRADIENTS)
def test_epsilon_relevance_equals_input_times_gradient(case, composite):
    """For a stabilizer of 1e-12 against none at all. It applies to every case: none has a part without a gradient."""
    model = double_model(case)
    explainer = build_explainer(model, composite=composite, output=case.output, epsilon=1e-12)
    attention = "uniform" if composite == "attnlrp" else "gate"
    inputs, target = case.samples(7), np.array([-1, 0, 1, 0, -1, 1, -1])
    found = relevances(case, Explanation(explainer)(inputs, target))
    expected = input_times_gradient(model, inputs, target, output=case.output, attention=attention)
    for name, relevance in expected.items():
        assert worst(found[name], relevance) < TOLERANCE, name
    assert all(np.abs(expected[name]).max() > 1e-3 for name in expected if name not in {"a", "edges"})
