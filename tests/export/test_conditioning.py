import numpy as np
import pytest

from export.conditioning import at_a_jump, rounding_moves
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


def held(rows: list[list[float]], program: WinnerTakesAll) -> tuple[int, int]:
    reference = WinnerTakesAll("reference")
    case = Case("explain", {"x": np.array(rows, np.float32)}, "real")
    report = compare([case], reference, [program], samples="real", probe=reference)
    return report.comparisons[0].at_a_jump, report.comparisons[0].examples


def test_only_examples_that_rounding_decides_are_at_a_jump() -> None:
    x = {"x": np.array(CLEAR + TIED, np.float32)}
    differences = np.array([0.1, 0.1, 0.1, 5.0])
    moved = rounding_moves(WinnerTakesAll("reference"), "explain", x)["relevance"]
    assert at_a_jump(differences, moved).tolist() == [False, False, False, True]


def test_an_example_at_a_jump_is_counted_and_left_out() -> None:
    assert held(CLEAR + TIED, WinnerTakesAll("other", error=1e-6)) == (1, 4)


def test_a_program_that_is_wrong_is_refused_on_the_examples_that_are_not_at_a_jump() -> None:
    with pytest.raises(ParityError, match=r"'relevance' on real inputs: reference and other"):
        held(CLEAR + TIED, WinnerTakesAll("other", factor=1.01))


def test_more_than_half_of_the_examples_at_a_jump_are_too_many() -> None:
    with pytest.raises(ParityError, match=r"rounding decides 2 of 3 examples, which leaves too few to compare"):
        held(CLEAR[:1] + TIED + TIED, WinnerTakesAll("other", error=1e-6))
