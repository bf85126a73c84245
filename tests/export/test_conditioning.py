from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn

import keras
import numpy as np
import pytest

from export.conditioning import Rounding
from export.errors import ParityError
from export.interface import model_interface
from export.parity import WIDEST, Case, Comparison, compare
from export.runners import Arrays, Probe, SessionRunner
from export.saved_model import trace_signatures, write_saved_model


class Weighted:
    """A program with weights, perhaps none."""

    weights = np.zeros(0, np.float32)

    @contextmanager
    def moved(self, relative: float, seed: int) -> Iterator[None]:
        before = self.weights
        noise = np.random.default_rng(seed).uniform(-relative, relative, before.shape)
        self.weights = before * np.float32(1 + noise)
        yield
        self.weights = before


class WinnerTakesAll(Weighted):
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


class Cancelling(Weighted):
    """Relevance of two branches that nearly cancel, r_i = x_i / (x_0 + x_1); the sum has an error of its own."""

    def __init__(self, name: str, error: float = 0.0) -> None:
        self.name = name
        self._error = error

    def run(self, signature: str, inputs: Arrays) -> dict[str, np.ndarray]:
        x = inputs["x"].astype(np.float64)
        return {"relevance": (x / (x.sum(axis=1, keepdims=True) + self._error)).astype(np.float32)}


class CancellingCounts(Weighted):
    """Relevance of whole numbers whose products with weights nearly cancel, r_i = x_i w_i / (x_0 w_0 + x_1 w_1)."""

    name = "counts"
    weights = np.array([1.0, -0.999], np.float32)

    def run(self, signature: str, inputs: Arrays) -> dict[str, np.ndarray]:
        products = inputs["x"] * self.weights.astype(np.float64)
        return {"relevance": (products / products.sum(axis=1, keepdims=True)).astype(np.float32)}


def padded(*rows: list[float]) -> list[list[float]]:
    return [row + [0.0] * (12 - len(row)) for row in rows]


CLEAR = padded([1.0, 2.0, 3.0], [3.0, 1.0, 2.0], [0.5, 4.0, 1.0])
TIED = padded([5.0, 5.0 * (1 - 1e-7), 1.0])  # float32 tells 5 and the number before it apart by 4.8e-7


def compared(rows: list[list[float]], reference: Probe, program: Probe) -> Comparison:
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


def test_rounding_of_weights_explains_what_inputs_of_whole_numbers_cannot() -> None:
    # 1 - 0.999 = 1e-3, of which rounding of the weights by 16 ulp (1.9e-6) is up to 4e-3; of 2 + 0.999 it is 2e-6.
    rounding = Rounding(CancellingCounts(), "explain", {"x": np.array([[1, 1], [2, -1]], np.int32)})
    explained = rounding.explains("relevance", np.array([2.0, 2e-4])) / [1000, 1]
    assert 1e-3 < explained[0] < 2e-2
    assert explained[1] < 2e-5


def test_weights_are_left_as_they_are_where_inputs_answer() -> None:
    class Untouchable(WinnerTakesAll):
        def moved(self, relative: float, seed: int) -> NoReturn:  # type: ignore[override]
            raise AssertionError((relative, seed))

    rounding = Rounding(Untouchable("reference"), "explain", {"x": np.array(TIED, np.float32)})
    assert rounding.explains("relevance", np.array([5.0])) >= 5.0


def test_the_weights_of_a_saved_model_are_moved_for_a_moment(tmp_path: Path) -> None:
    model = keras.Sequential([keras.Input((64,), name="x"), keras.layers.Dense(8, use_bias=False, name="y")])
    write_saved_model(tmp_path, model, trace_signatures(model_interface(model), None), None)
    one_by_one = {"x": np.eye(64, dtype=np.float32)}
    with SessionRunner(tmp_path) as session:

        def weights() -> np.ndarray:
            return session.run("serving_default", one_by_one)["y"]

        before = weights()
        for seed in (1, 2):
            with session.moved(0.25, seed):
                moved = weights() / before - 1
            np.testing.assert_array_equal(weights(), before)
            # Of 512 numbers uniform in +-1/4 the deviation is 1/4/sqrt(3) = 0.144, and none is equal to another.
            assert np.abs(moved).max() < 0.2501
            assert 0.13 < moved.std() < 0.16
            assert abs(moved.mean()) < 0.03
        np.testing.assert_allclose(before, np.asarray(model.get_weights()[0]), rtol=1e-6)
