import pytest

from serving.config.models import All, Latest, Specific

ON_DISK = [3, 10, 9]


@pytest.mark.parametrize(
    ("policy", "candidates", "most"),
    [
        (Latest(), [10, 9, 3], 1),
        (Latest(2), [10, 9, 3], 2),
        (All(), [10, 9, 3], float("inf")),
        (Specific((9, 3)), [9, 3], float("inf")),
        (Specific((7,)), [], float("inf")),
    ],
)
def test_a_policy_tries_the_newest_first(policy, candidates, most):
    assert (policy.candidates(ON_DISK), policy.most) == (candidates, most)
