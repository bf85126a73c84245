import pytest

from explain.rules import RULES
from models.registry import architectures
from serving.engines.registry import ENGINES
from tests.conformance import cases
from tests.oracles import rules as oracle


def test_every_registered_architecture_has_an_entry():
    assert set(architectures()) == {case.architecture for case in cases.REGISTERED}


def test_every_registered_rule_has_an_oracle_and_an_entry():
    assert set(RULES) == set(cases.RULES) == set(oracle.RULES)


def test_every_engine_has_an_entry():
    assert set(ENGINES) == set(cases.ENGINES)


def test_the_cases_have_names_of_their_own():
    names = [case.name for case in cases.CASES]
    assert len(names) == len(set(names))


@pytest.mark.slow
@pytest.mark.parametrize("case", cases.CASES, ids=lambda case: case.name)
def test_the_cases_are_small(case):
    assert cases.double_model(case).count_params() < 10_000
