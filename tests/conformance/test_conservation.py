"""Every layer accounts for what it received, and the accounts add up to the gap that is reported."""

import numpy as np
import pytest

from tests.conformance.cases import CASES, FAMILIES, REGISTERED
from tests.conformance.tracing import explanation, relevances

TOLERANCE = 1e-6
RUNS = [
    *((case, composite, bias)
      for case in REGISTERED for composite in ("epsilon", "epsilon_plus") for bias in ("absorb", "ignore", "share")),
    *((case, case.composite, "absorb") for case in FAMILIES),
]  # fmt: skip


def steps_of(audit):
    """The account of each step by its name."""
    steps = {}
    for name, value in audit.items():
        step, what = name.rsplit("/", 1)
        steps.setdefault(step, {})[what] = value
    return steps


@pytest.mark.slow
@pytest.mark.parametrize(
    ("case", "composite", "bias"), RUNS, ids=lambda value: value if isinstance(value, str) else value.name
)
def test_relevance_is_conserved_step_by_step(case, composite, bias):
    explain = explanation(case, composite, bias=bias) if bias != "absorb" else explanation(case, composite)
    inputs = case.samples(4)
    result = explain(inputs)
    lost = 0.0
    for step, account in steps_of(explain(inputs, method="audit")).items():
        absorbed = account["absorbed_bias"] + account["absorbed_stabilizer"]
        left = account["relevance_out"] - account["relevance_in"] - absorbed
        size = np.abs(account["relevance_out"]) + np.abs(account["relevance_in"]) + np.abs(result["explained_value"])
        assert (np.abs(left) <= TOLERANCE * size).all(), step
        lost = lost + absorbed.sum()
    # Of the whole batch: where a step isn't batch first, it is put down to the examples in equal parts.
    scale = sum(np.abs(relevance).sum() for relevance in relevances(case, result).values())
    assert np.abs(result["conservation_gap"].sum() - lost) <= TOLERANCE * scale
    if bias == "share":
        assert (np.abs(result["conservation_gap"]) <= TOLERANCE * scale).all()


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_the_gap_is_what_is_explained_less_all_relevance(case):
    result = explanation(case)(case.samples(4))
    total = sum(values.reshape(len(values), -1).sum(axis=1) for values in relevances(case, result).values())
    scale = np.abs(result["explained_value"]) + np.abs(total)
    assert (np.abs(result["conservation_gap"] - (result["explained_value"] - total)) <= TOLERANCE * scale).all()
