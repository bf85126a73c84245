import numpy as np
import pytest

from export.conditioning import Rounding
from export.errors import ParityError
from export.parity import Case, compare
from export.runners import Arrays


class WinnerTakesAll:
    """Relevance of the largest element of a row, computed with a small error of its own in the comparison."""

    def __init__(self, name: str, error: float = 0.0, factor: float = 1.0) -> None:
        self.name = name
        self._offset = np.array([0.0, error, 0.0])
        self._factor = factor

    def run(self, signature: str, inputs: Arrays) -> dict[str, np.ndarray]:
        x = inputs["x"].astype(np.float64)
        winner = (x + self._offset).argmax(axis=1)
        relevance = np.eye(3)[winner] * x.max(axis=1, keepdims=True) * self._factor
        return {"relevance": relevance.astype(np.float32)}


CLEAR = [[1.0, 2.0, 3.0], [3.0, 1.0, 2.0], [0.5, 4.0, 1.0]]
TIED = [[5.0, 5.0 * (1 - 1e-7), 1.0]]  # float32 tells 5 and the number before it apart by 4.8e-7


def held(rows: list[list[float]], program: WinnerTakesAll) -> tuple[int, ...]:
    reference = WinnerTakesAll("reference")
    case = Case("explain", {"x": np.array(rows, np.float32)}, "real")
    report = compare([case], reference, [program], samples="real", probe=reference)
    (found,) = report.comparisons
    return found.at_a_jump, found.examples, found.left_out, found.elements


def test_only_examples_that_rounding_decides_are_at_a_jump() -> None:
    x = {"x": np.array(CLEAR + TIED, np.float32)}
    differences = np.array([0.1, 0.1, 0.1, 5.0])
    rounding = Rounding(WinnerTakesAll("reference"), "explain", x)
    assert rounding.decides("relevance", differences, np.full(4, True)).tolist() == [False, False, False, True]


def test_what_a_jump_moves_is_counted_and_left_out() -> None:
    # Of the tied row the first two of three elements change places.
    assert held(CLEAR + TIED, WinnerTakesAll("other", error=1e-6)) == (1, 4, 2, 12)


def test_a_program_that_is_wrong_is_refused_on_the_examples_that_are_not_at_a_jump() -> None:
    with pytest.raises(ParityError, match=r"'relevance' on real inputs: reference and other"):
        held(CLEAR + TIED, WinnerTakesAll("other", factor=1.01))


def test_more_than_half_of_the_elements_at_a_jump_are_too_many() -> None:
    tied_elsewhere = [[5.0, 5.0 * (1 - 1e-7), 1.0]] * 3
    with pytest.raises(
        ParityError, match=r"rounding decides 6 of 9 elements, in 3 of 3 examples, which leaves too few"
    ):
        held(tied_elsewhere, WinnerTakesAll("other", error=1e-6))
    assert held(CLEAR[:1] + TIED + TIED, WinnerTakesAll("other", error=1e-6)) == (2, 3, 4, 9)


def test_a_program_is_run_again_only_until_a_jump_is_found() -> None:
    runs = []

    class Counted(WinnerTakesAll):
        def run(self, signature: str, inputs: Arrays) -> dict[str, np.ndarray]:
            runs.append(signature)
            return super().run(signature, inputs)

    x = {"x": np.array(TIED, np.float32)}
    rounding = Rounding(Counted("reference"), "explain", x)
    assert rounding.decides("relevance", np.array([5.0]), np.array([True])).all()
    assert 2 <= len(runs) < 9
    before = len(runs)
    assert rounding.decides("relevance", np.array([5.0]), np.array([True])).all()
    assert len(runs) == before
    assert not rounding.decides("relevance", np.array([50.0]), np.array([True])).any()
    assert len(runs) == 9
