from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn, Self

import keras
import numpy as np
import pytest
import tensorflow as tf

from explain import build_explainer
from export.conditioning import Rounding
from export.errors import ParityError
from export.interface import model_interface
from export.parity import WIDEST, Case, Comparison, compare
from export.precision import in_float64
from export.runners import Arrays, KerasRunner, Probe, SessionRunner
from export.saved_model import trace_signatures, write_saved_model


class Weighted:
    """A program with weights, perhaps none."""

    weights = np.zeros(0, np.float32)

    @property
    def rounded_at_random(self) -> Self:
        """Its single operation is in double precision."""
        return self

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
    assert 2 <= len(runs) < 25
    before = len(runs)
    assert rounding.explains("relevance", np.array([5.0])) >= 5.0
    assert len(runs) == before
    assert rounding.explains("relevance", np.array([50.0])) < 50.0
    assert len(runs) == 25


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


def test_operations_are_rounded_at_random_only_where_weights_do_not_answer() -> None:
    class Unrounded(CancellingCounts):
        @property
        def rounded_at_random(self) -> NoReturn:  # type: ignore[override]
            raise AssertionError

    rounding = Rounding(Unrounded(), "explain", {"x": np.array([[1, 1]], np.int32)})
    assert 1 < rounding.explains("relevance", np.array([1.0])) < 20


def test_random_rounding_explains_what_saturated_gates_hide(tmp_path: Path) -> None:
    """A carry of 1 - tanh(w x): for x = 20 it is zero but for rounding of the 1, 6e-8; for x = 1, 0.24."""
    root = tf.Module()
    root.weight = tf.Variable(1.0)

    def divided(x: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"relevance": 1 / (1e-6 + 1 - tf.tanh(x * root.weight))}

    function = tf.function(divided, input_signature=[tf.TensorSpec((None, 1), tf.float32, "x")], autograph=False)
    tf.saved_model.save(root, str(tmp_path), signatures={"explain": function.get_concrete_function()})
    x = {"x": np.array([[1.0], [20.0]], np.float32)}
    with SessionRunner(tmp_path) as session:
        relevance = session.run("explain", x)["relevance"][:, 0]
        for turn in range(8):
            with session.moved(1e-5, turn):
                assert session.run("explain", x)["relevance"][1, 0] == relevance[1]
        explained = Rounding(session, "explain", x).explains("relevance", relevance.astype(np.float64)) / relevance
    assert explained[0] < 1e-4
    assert 0.05 < explained[1] < 1


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


def test_the_weights_of_a_recurrent_layer_are_moved_though_its_graph_has_variables_without_a_value(
    tmp_path: Path,
) -> None:
    model = keras.Sequential([keras.Input((5, 3), name="x"), keras.layers.LSTM(4, name="y")])
    interface = model_interface(model)
    explainer = build_explainer(model)
    write_saved_model(tmp_path, model, trace_signatures(interface, explainer), explainer)
    x = {"x": np.random.default_rng(0).normal(size=(2, 5, 3)).astype(np.float32)}
    with SessionRunner(tmp_path) as session:
        before = session.run("explain", x)
        with session.moved(1e-3, 1):
            moved = session.run("explain", x)
        after = session.run("explain", x)
    for name in ("y", "relevance"):
        change = np.abs(moved[name] - before[name]).max() / np.abs(before[name]).max()
        assert 1e-5 < change < 1e-2
        np.testing.assert_array_equal(after[name], before[name])


def saturated_lstm(kernel_of_the_second_unit: float = 0.01) -> keras.Model:
    """All gates are open. What the first unit keeps after two steps is nothing but what is lost at saturation."""
    model = keras.Sequential([keras.Input((3, 1), name="x"), keras.layers.LSTM(2), keras.layers.Dense(1, name="y")])
    kernel, bias = np.zeros((1, 8)), np.full(8, 30.0)  # of the gates i, f, c, o, two units each
    kernel[0, 4:6] = 1.0, kernel_of_the_second_unit
    bias[4:6] = 0.0
    model.set_weights([kernel, np.zeros((2, 8)), bias, np.array([[1.0], [30.0]]), np.zeros(1)])
    return model


def compared_with_float64(folder: Path, model: keras.Model) -> Comparison:
    """Of x = 20, -9, 20 the first unit keeps tanh 20 - tanh 9 = 3e-8, in float32 0 or 6e-8; of 20, 5, 20 it keeps 2."""
    explainer = build_explainer(model)
    write_saved_model(folder, model, trace_signatures(model_interface(model), explainer), explainer)
    right = saturated_lstm()
    reference = KerasRunner("float64", model_interface(right), build_explainer(in_float64(right), try_out=False))
    x = np.array([[20, -9, 20], [20, 5, 20]], np.float32)[..., np.newaxis]
    with SessionRunner(folder) as session:
        report = compare([Case("explain", {"x": x}, "real")], reference, [session], samples="real", probe=session)
    return next(comparison for comparison in report.comparisons if comparison.output == "relevance")


def test_a_saturated_lstm_may_be_as_far_from_float64_as_rounding_takes_it(tmp_path: Path) -> None:
    # 3e-8 of the first unit's relevance of 1 is divided by 1e-6, against 10 of the second unit.
    found = compared_with_float64(tmp_path, saturated_lstm())
    assert 1e-3 < found.relative < found.rounding <= WIDEST
    assert found.left_out == 0


def test_a_saturated_lstm_with_a_wrong_weight_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ParityError, match=r"'relevance' on real inputs: float64 and SavedModel: .* at index \[1, "):
        compared_with_float64(tmp_path, saturated_lstm(kernel_of_the_second_unit=0.01 * 1.001))
