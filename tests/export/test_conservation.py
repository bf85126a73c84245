from collections.abc import Mapping

import numpy as np
import pytest

from export.conservation import check_conservation
from export.errors import ConservationError

BATCHES = [{"x": np.zeros((2, 3), np.float32)}]


def accounts(**change: np.ndarray) -> dict[str, np.ndarray]:
    """Two steps of two examples: 10 = 9 + 1 + 0 and 9 = 8.5 + 0.25 + 0.25; the second example has twice as much."""
    amounts = {
        "0000/logits/MatMul/epsilon": {
            "relevance_out": 10, "relevance_in": 9, "absorbed_bias": 1, "absorbed_stabilizer": 0,
        },
        "0001/conv/Conv2D/z_plus": {
            "relevance_out": 9, "relevance_in": 8.5, "absorbed_bias": 0.25, "absorbed_stabilizer": 0.25,
        },
    }  # fmt: skip
    each = {f"{step}/{what}": amount for step, terms in amounts.items() for what, amount in terms.items()}
    return {key: np.array([value, 2 * value], np.float32) for key, value in each.items()} | change


def checked(**change: np.ndarray) -> object:
    def audit(_: Mapping[str, np.ndarray], target: np.ndarray) -> dict[str, np.ndarray]:
        assert target.tolist() == [-1, -1]
        return accounts(**change)

    return check_conservation(audit, BATCHES)


def test_steps_are_reported_in_order_with_their_means() -> None:
    report = check_conservation(lambda inputs, target: accounts(), BATCHES)
    assert report.residual == 0.0
    assert report.examples == 2
    assert [step.step for step in report.steps] == ["0000/logits/MatMul/epsilon", "0001/conv/Conv2D/z_plus"]
    assert report.steps[0].relevance_out == 15.0  # (10 + 20) / 2
    assert report.steps[1].absorbed_stabilizer == 0.375  # (0.25 + 0.5) / 2


def test_a_step_that_loses_relevance_is_refused_by_name() -> None:
    lost = np.array([8.5, 16.9], np.float32)  # 17 were due: 0.1 of the 20 that the example has at most is 5e-3
    with pytest.raises(ConservationError, match=r"1 of 2 don't; the worst is '0001/conv/Conv2D/z_plus': 5.0e-03 of"):
        checked(**{"0001/conv/Conv2D/z_plus/relevance_in": lost})


def test_rounding_is_not_a_loss() -> None:
    checked(**{"0001/conv/Conv2D/z_plus/relevance_in": np.array([8.5, 17.0001], np.float32)})


def test_nan_is_a_loss() -> None:
    with pytest.raises(ConservationError, match="0001/conv"):
        checked(**{"0001/conv/Conv2D/z_plus/relevance_in": np.array([8.5, np.nan], np.float32)})
