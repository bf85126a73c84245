"""An explanation does not depend on the batch that it is computed in."""

import numpy as np
import pytest

from explain import build_explainer
from tests.conformance.cases import CASES, double_model, samples
from tests.explain.running import call, worst


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_an_explanation_is_independent_of_its_batch(case):
    """One by one and seven at once: the same sums, which a runtime may only add up in another order."""
    explainer = build_explainer(double_model(case), composite="epsilon_plus")
    images, target = samples(7), np.array([-1, 0, 1, -1, 9, 5, -1])
    together = call(explainer, {"image": images}, target)
    alone = [call(explainer, {"image": images[i : i + 1]}, target[i]) for i in (0, 3, 4)]
    for index, single in zip((0, 3, 4), alone, strict=True):
        assert worst(single["relevance"], together["relevance"][index : index + 1]) < 1e-11
        assert single["target"] == together["target"][index]
        np.testing.assert_allclose(single["explained_value"], together["explained_value"][index], rtol=1e-12)
