"""An explanation does not depend on the batch that it is computed in."""

import numpy as np
import pytest

from tests.conformance.cases import CASES
from tests.conformance.tracing import explanation, relevances
from tests.explain.running import worst


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_an_explanation_is_independent_of_its_batch(case):
    """One by one and seven at once: the same sums, which a runtime may only add up in another order."""
    explain, inputs, target = explanation(case), case.samples(7), np.array([-1, 0, 1, -1, 2, 0, -1])
    together = explain(inputs, target)
    for index in (0, 3, 4):
        alone = explain({name: values[index : index + 1] for name, values in inputs.items()}, target[index])
        for name, relevance in relevances(case, alone).items():
            assert worst(relevance, relevances(case, together)[name][index : index + 1]) < 1e-9, name
        assert alone["target"] == together["target"][index]
        np.testing.assert_allclose(alone["explained_value"], together["explained_value"][index], rtol=1e-12)
