"""Every layer accounts for what it received, and the accounts add up to the gap that is reported."""

import numpy as np
import pytest

from explain import build_explainer
from tests.conformance.cases import CASES, double_model, samples
from tests.explain.running import call


@pytest.mark.slow
@pytest.mark.parametrize("composite", ["epsilon", "epsilon_plus"])
@pytest.mark.parametrize("bias", ["absorb", "ignore", "share"])
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_relevance_is_conserved_layer_by_layer(case, bias, composite):
    explainer = build_explainer(double_model(case), composite=composite, bias=bias)
    images = samples(4)
    result = call(explainer, {"image": images})
    steps = {}
    for name, value in call(explainer, {"image": images}, method="audit").items():
        step, what = name.rsplit("/", 1)
        steps.setdefault(step, {})[what] = value
    absorbed = 0.0
    for step, account in steps.items():
        lost = account["absorbed_bias"] + account["absorbed_stabilizer"]
        left = account["relevance_out"] - account["relevance_in"] - lost
        size = np.abs(account["relevance_out"]) + np.abs(account["relevance_in"]) + np.abs(result["explained_value"])
        assert (np.abs(left) <= 1e-6 * size).all(), step
        absorbed = absorbed + lost
    scale = np.abs(result["relevance"]).sum(axis=(1, 2, 3))
    assert (np.abs(result["conservation_gap"] - absorbed) <= 1e-6 * scale).all()
    if bias == "share":
        assert (np.abs(result["conservation_gap"]) <= 1e-6 * scale).all()
