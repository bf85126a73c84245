import numpy as np
import pytest

from export.conditioning import Rounding
from export.errors import ParityError
from export.parity import WIDEST, Case, Comparison, compare
from export.runners import Arrays, Runner


class WinnerTakesAll:
    """Relevance of the largest element of a row, computed with a small error of its own in the comparison."""

    def __init__(self, name: str, error: float = 0.0, factor: float = 1.0, width: int = 12) -> None:
        self.name = name
        self._offset = np.eye(width)[1] * error
        self._factor = factor
        self._width = width

    def run(self, signature: str, inputs: Arrays) -> dict[str, np.ndarray]:
        x = inputs["x"].astype(np.float64)
        winner = (x + self._offset).argmax(axis=1)
        relevance = np.eye(self._width)[winner] * x.max(axis=1, keepdims=True) * self._factor
        return {"relevance": relevance.astype(np.float32)}


class Cancelling:
    """Relevance of two branches that nearly cancel, r_i = x_i / (x_0 + x_1); the sum has an error of its own."""

    def __init__(self, name: str, error: float = 0.0) -> None:
        self.name = name
        self._error = error

    def run(self, signature: str, inputs: Arrays) -> dict[str, np.ndarray]:
        x = inputs["x"].astype(np.float64)
        return {"relevance": (x / (x.sum(axis=1, keepdims=True) + self._error)).astype(np.float32)}


def padded(*rows: list[float]) -> list[list[float]]:
    return [row + [0.0] * (12 - len(row)) for row in rows]


CLEAR = padded([1.0, 2.0, 3.0], [3.0, 1.0, 2.0], [0.5, 4.0, 1.0])
TIED = padded([5.0, 5.0 * (1 - 1e-7), 1.0])  # float32 tells 5 and the number before it apart by 4.8e-7


def compared(rows: list[list[float]], reference: Runner, program: Runner) -> Comparison:
    case = Case("explain", {"x": np.array(rows, np.float32)}, "real")
    report = compare([case], reference, [program], samples="real", probe=reference)
    (found,) = report.comparisons
    return found


def left_out(rows: list[list[float]], program: WinnerTakesAll) -> tuple[int, ...]:
    found = compared(rows, WinnerTakesAll("reference"), program)
    return found.at_a_jump, found.examples, found.left_out, found.elements


def test_rounding_explains_the_difference_of_a_tie_only() -> None:
    x = {"x": np.array(CLEAR + TIED, np.float32)}
    rounding = Rounding(WinnerTakesAll("reference"), "explain", x)
    explained = rounding.explains("relevance", np.array([0.1, 0.1, 0.1, 5.0]))
    assert (explained[:3] < 1e-4).all()
    assert explained[3] >= 5.0


def test_what_a_jump_moves_is_counted_and_left_out() -> None:
    # Of the tied row the first two elements change places.
    assert left_out(CLEAR + TIED, WinnerTakesAll("other", error=1e-6)) == (1, 4, 2, 48)


def test_a_program_that_is_wrong_is_refused_on_the_examples_that_are_not_at_a_jump() -> None:
    with pytest.raises(ParityError, match=r"'relevance' on real inputs: reference and other"):
        left_out(CLEAR + TIED, WinnerTakesAll("other", factor=1.01))


def test_more_than_a_tenth_of_the_elements_at_a_jump_are_too_many() -> None:
    assert left_out(CLEAR + TIED, WinnerTakesAll("other", error=1e-6)) == (1, 4, 2, 48)
    with pytest.raises(
        ParityError, match=r"rounding decides 6 of 48 elements, in 3 of 4 examples, which leaves too few"
    ):
        left_out(CLEAR[:1] + TIED * 3, WinnerTakesAll("other", error=1e-6))


def test_where_rounding_moves_all_of_an_explanation_the_tolerance_is_as_wide_and_is_reported() -> None:
    # x_0 + x_1 = 1e-3, of which rounding of x_0 by 16 ulp (1.9e-6) is 2e-3; the other program's sum is 1e-3 of it off.
    found = compared([[1.0, -0.999]], Cancelling("reference"), Cancelling("other", error=1e-6))
    assert found.relative == pytest.approx(1e-3, rel=0.1)
    assert found.tolerance == 1e-4
    assert found.relative < found.rounding <= WIDEST
    assert found.left_out == 0


def test_a_program_that_is_further_off_than_rounding_moves_it_is_refused() -> None:
    with pytest.raises(ParityError, match=r"'relevance' on real inputs: reference and other"):
        compared([[1.0, -0.99]], Cancelling("reference"), Cancelling("other", error=1e-4))


def test_where_rounding_moves_everything_beyond_the_widest_tolerance_too_little_is_left_to_compare() -> None:
    # x_0 + x_1 = 1e-5, a few times what rounding of x_0 is.
    with pytest.raises(ParityError, match="rounding decides 2 of 2 elements"):
        compared([[1.0, -0.99999]], Cancelling("reference"), Cancelling("other", error=3e-7))


def test_a_program_is_run_again_only_until_a_jump_is_found() -> None:
    runs = []

    class Counted(WinnerTakesAll):
        def run(self, signature: str, inputs: Arrays) -> dict[str, np.ndarray]:
            runs.append(signature)
            return super().run(signature, inputs)

    x = {"x": np.array(TIED, np.float32)}
    rounding = Rounding(Counted("reference"), "explain", x)
    assert rounding.explains("relevance", np.array([5.0])) >= 5.0
    assert 2 <= len(runs) < 17
    before = len(runs)
    assert rounding.explains("relevance", np.array([5.0])) >= 5.0
    assert len(runs) == before
    assert rounding.explains("relevance", np.array([50.0])) < 50.0
    assert len(runs) == 17
