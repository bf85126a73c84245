"""Relevance is finite in half precision, with saturated gates and with dead units."""

import numpy as np
import pytest

from explain import build_explainer
from tests.conformance.cases import FAMILIES, REGISTERED, model_in
from tests.conformance.tracing import Explanation, relevances

CASES = (REGISTERED[3], *FAMILIES)


def zeroed(samples):
    """Zeros; of token ids ones, since a mean over nothing but padding is 0/0 in the model itself."""
    return {name: np.ones_like(v) if v.dtype.kind == "i" else v * 0 for name, v in samples.items()}


def explained(case, model):
    return Explanation(build_explainer(model, composite=case.composite, output=case.output))


@pytest.mark.slow
@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_relevance_in_half_precision_is_finite(case, policy):
    explain = explained(case, model_in(case, policy))
    for inputs in (case.samples(3), zeroed(case.samples(3))):
        found = relevances(case, explain(inputs))
        assert all(np.isfinite(values).all() for values in found.values())
    found = relevances(case, explain(case.samples(3)))
    assert any(np.abs(values).max() > 1e-6 for values in found.values())


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_relevance_with_saturated_gates_and_dead_units_is_finite(case):
    """Weights thirty times as large, and biases far below zero."""
    model = model_in(case, "float32")
    for variable in model.weights:
        if "variance" not in variable.path:
            values = np.asarray(variable) * 30
            variable.assign(values - 100 if "bias" in variable.path else values)
    explain = explained(case, model)
    for inputs in (case.samples(3), zeroed(case.samples(3))):
        found = relevances(case, explain(inputs))
        assert all(np.isfinite(values).all() for values in found.values())
