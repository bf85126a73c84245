"""Relevance equals that of the NumPy oracle and of the gradient oracle."""

import numpy as np
import pytest

from tests.conformance.cases import CASES, double_model, samples
from tests.explain.running import explain, worst

# A float64 pass through a whole network; a rule alone is held to 1e-9.
TOLERANCE = 1e-6


@pytest.mark.slow
@pytest.mark.parametrize("bias", ["absorb", "ignore", "share"])
@pytest.mark.parametrize("composite", ["epsilon", "epsilon_plus"])
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_relevance_equals_the_oracle(case, composite, bias):
    model, images = double_model(case), samples(4)
    network = case.network(model)
    target = [-1, 3, -1, 7]
    result = explain(model, images, target=target, composite=composite, bias=bias)
    expected = network.explain({"image": images}, target, composite=composite, bias=bias)["image"]
    assert worst(result["relevance"], expected) < TOLERANCE
    scores = network.predict({"image": images})
    chosen = np.where(np.array(target) < 0, scores.argmax(axis=1), target)
    np.testing.assert_allclose(result["explained_value"], scores[np.arange(4), chosen], rtol=1e-9)
    np.testing.assert_array_equal(result["target"], chosen)


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_epsilon_relevance_equals_input_times_gradient(case):
    """For a stabiliser of 1e-12 against none at all."""
    model, images = double_model(case), samples(16)
    result = explain(model, images, composite="epsilon", epsilon=1e-12)
    expected = case.gradient(model, images, np.full(16, -1))
    assert worst(result["relevance"], expected) < TOLERANCE
