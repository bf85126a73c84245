import json
from collections.abc import Mapping

import numpy as np
import pytest

from export.conservation import check_conservation, check_recorded
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


def layered() -> dict[str, np.ndarray]:
    """One layer of two steps and one of one: 10 -> (1 absorbed) 9 -> within the same layer 8 -> 7."""
    amounts = {
        "0000/block/MatMul/epsilon": (10, 9, 1, 0, 9),
        "0001/block/MatMul/z_plus": (9, 8, 0.5, 0.5, 0),
        "0002/act/Relu/": (8, 8, 0, 0, 0),
    }
    names = ("relevance_out", "relevance_in", "absorbed_bias", "absorbed_stabilizer", "relevance_within")
    return {
        f"{step}/{what}": np.array([amount, amount], np.float32)
        for step, terms in amounts.items()
        for what, amount in zip(names, terms, strict=True)
    }


def test_a_layer_s_account_is_that_of_its_steps_without_what_they_pass_among_themselves() -> None:
    block, act = check_conservation(lambda inputs, target: layered(), BATCHES).layers
    assert (block.layer, block.operations, block.rules) == ("block", ("MatMul", "MatMul"), ("epsilon", "z_plus"))
    assert (block.relevance_out, block.absorbed_bias, block.absorbed_stabilizer, block.relevance_in) == (
        10,
        1.5,
        0.5,
        8,
    )
    assert (act.layer, act.rules, act.relevance_out, act.relevance_in) == ("act", (), 8, 8)


def test_recorded_accounts_must_be_those_computed_again() -> None:
    report = check_conservation(lambda inputs, target: layered(), BATCHES)
    recorded = json.loads(json.dumps(report.to_dict()))
    check_recorded(report, recorded)
    check_recorded(report, {})  # an older release kept no layers
    recorded["layers"][0]["absorbed_bias"] += 0.01  # 1e-3 of the 10 that is the largest amount
    with pytest.raises(ConservationError, match=r"They differ: block \(absorbed_bias 1.51, now 1.5\)"):
        check_recorded(report, recorded)
    recorded["layers"][0]["layer"] = "other"
    with pytest.raises(ConservationError, match=r"block \(in one of them only\); other \(in one of them only\)"):
        check_recorded(report, recorded)
