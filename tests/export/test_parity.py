from collections.abc import Callable

import numpy as np
import pytest

from export.errors import ParityError
from export.parity import Case, compare, make_cases
from export.runners import Arrays, RecordedRunner
from export.samples import Batch, Samples

X = {"x": np.ones((4, 3), np.float32)}
CASE = Case("explain", X, "real")


def outputs() -> dict[str, np.ndarray]:
    generator = np.random.default_rng(0)
    relevance = generator.normal(size=(4, 3)).astype(np.float32)
    value = relevance.sum(axis=1) + np.float32(0.25)
    return {
        "scores": generator.normal(size=(4, 2)).astype(np.float32),
        "relevance": relevance,
        "target": np.array([0, 1, 1, 0], np.int32),
        "explained_value": value,
        "conservation_gap": value - relevance.sum(axis=1),
    }


def runner(name: str, answers: Arrays) -> RecordedRunner:
    return RecordedRunner(name, [("explain", X, answers)])


def held(change: Callable[[dict[str, np.ndarray]], None]) -> None:
    right = outputs()
    change(right)
    compare([CASE], runner("reference", outputs()), [runner("format", right)], samples="real")


def test_equal_outputs_pass_and_are_reported() -> None:
    report = compare(
        [CASE], runner("reference", outputs()), [runner("a", outputs()), runner("b", outputs())], samples="real"
    )
    assert len(report.comparisons) == 5 * 3  # outputs times pairs
    assert {comparison.relative for comparison in report.comparisons} == {0.0}


@pytest.mark.parametrize(("output", "tolerance"), [("scores", 1e-5), ("relevance", 1e-4), ("explained_value", 1e-4)])
def test_a_difference_is_refused_just_above_its_tolerance(output: str, tolerance: float) -> None:
    scale = float(np.abs(outputs()[output]).max())

    def off_by(factor: float) -> Callable[[dict[str, np.ndarray]], None]:
        def change(values: dict[str, np.ndarray]) -> None:
            values[output].flat[1] += factor * tolerance * scale

        return change

    held(off_by(0.9))
    with pytest.raises(ParityError, match=f"'{output}' on real inputs: reference and format: .* at index"):
        held(off_by(1.2))


def test_two_formats_are_held_more_tightly_than_either_and_the_reference() -> None:
    right = outputs()
    right["relevance"][0, 0] += 5e-5 * np.abs(right["relevance"]).max()
    runners = [runner("one", outputs()), runner("other", right)]
    with pytest.raises(ParityError, match=r"'relevance' on real inputs: one and other: .* tolerance 1e-05"):
        compare([CASE], runner("reference", outputs()), runners, samples="real")


def test_relevance_in_the_wrong_order_is_refused_though_its_sum_is_right() -> None:
    def reverse(values: dict[str, np.ndarray]) -> None:
        values["relevance"] = values["relevance"][:, ::-1]

    with pytest.raises(ParityError, match="'relevance' on real inputs"):
        held(reverse)


def test_a_different_target_is_refused_exactly() -> None:
    def change(values: dict[str, np.ndarray]) -> None:
        values["target"][2] = 0

    with pytest.raises(ParityError, match=r"'target' on real inputs: reference and format: 1 against 0 at index \[2\]"):
        held(change)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_values_that_are_not_finite_are_refused(bad: float) -> None:
    def change(values: dict[str, np.ndarray]) -> None:
        values["relevance"][3, 2] = bad

    with pytest.raises(
        ParityError, match=rf"format: output 'relevance' of signature 'explain' is {bad} at index \[3, 2\]"
    ):
        held(change)


def test_other_shapes_and_dtypes_are_refused() -> None:
    def cut(values: dict[str, np.ndarray]) -> None:
        values["scores"] = values["scores"][:, :1]

    with pytest.raises(ParityError, match=r"float32\[4, 2\] against float32\[4, 1\]"):
        held(cut)

    def widen(values: dict[str, np.ndarray]) -> None:
        values["target"] = values["target"].astype(np.int64)

    with pytest.raises(ParityError, match=r"int32\[4\] against int64\[4\]"):
        held(widen)


def test_a_missing_output_is_refused() -> None:
    with pytest.raises(ParityError, match="format: signature 'explain' must have the outputs"):
        held(lambda values: values.pop("relevance"))  # type: ignore[arg-type, return-value]


def test_cases_cover_one_example_and_several_and_several_targets() -> None:
    cases = make_cases(Samples("real", (Batch("real", {"x": np.zeros((6, 2), np.float32)}),)), 10)
    assert {(case.signature, len(case.inputs["x"])) for case in cases} == {
        (signature, rows) for signature in ("serving_default", "explain", "explain_target") for rows in (1, 6)
    }
    targets = [case.inputs["target"] for case in cases if "target" in case.inputs]
    assert sorted(len(set(target.tolist())) > 2 for target in targets) == [False, True]
    assert {-1, 9} <= {target for array in targets for target in array.tolist()}
    assert all(((target >= -1) & (target < 10)).all() for target in targets)
