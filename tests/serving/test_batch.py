from dataclasses import dataclass

import numpy as np
import pytest

from serving.batch import Call, count_rows, run_batch
from serving.errors import Code, ServingError
from tests.serving.models import RecordingModel


@dataclass
class Waiting:
    inputs: dict[str, np.ndarray]
    rows: int | None
    gone: bool = False

    def abandoned(self) -> bool:
        return self.gone


def request(*rows: float) -> Waiting:
    return Waiting({"x": np.array([[value, 1.0] for value in rows], np.float32)}, len(rows))


def call(model: RecordingModel, *, batchable: bool = True) -> Call:
    return Call(model, "serving_default", model.signatures["serving_default"], ("y",), batchable=batchable)


def refuse_negative(x: np.ndarray) -> np.ndarray:
    if (x < 0).any():
        raise ServingError(Code.INVALID_ARGUMENT, "negative")
    return x.sum(axis=1, keepdims=True)


def test_rows_are_the_first_dimension_that_all_inputs_share():
    assert count_rows({"a": np.zeros((2, 3)), "b": np.zeros(2)}) == 2
    assert count_rows({"a": np.zeros((0, 3))}) == 0
    assert count_rows({"a": np.zeros((2, 3)), "b": np.zeros(1)}) is None
    assert count_rows({"a": np.zeros(())}) is None
    assert count_rows({}) is None


def test_requests_run_as_one_and_each_gets_its_own_rows():
    model = RecordingModel()
    run = run_batch(call(model), [request(1), request(2, 3), request(4)], max_rows=10)
    assert model.rows() == [[1, 2, 3, 4]]
    assert [outcome["y"].ravel().tolist() for outcome in run.outcomes] == [[2], [3, 4], [5]]
    assert run.divisible


def test_one_bad_request_fails_alone():
    model = RecordingModel(refuse_negative)
    run = run_batch(call(model), [request(1), request(-2), request(3)], max_rows=10)
    good, bad, other = run.outcomes
    assert good["y"].tolist() == [[2]]
    assert other["y"].tolist() == [[4]]
    assert isinstance(bad, ServingError)
    assert bad.code == Code.INVALID_ARGUMENT
    assert run.divisible


@pytest.mark.parametrize(
    "function",
    [lambda x: np.float32(x.sum()), lambda x: x.sum(axis=0), lambda x: x[:1]],
    ids=["scalar", "other axis", "fewer rows"],
)
def test_outputs_without_the_rows_of_the_inputs_are_computed_one_by_one(function):
    model = RecordingModel(function)
    run = run_batch(call(model), [request(1, 2, 3), request(4, 5, 6)], max_rows=10)
    assert not run.divisible
    for outcome, rows in zip(run.outcomes, ([1, 2, 3], [4, 5, 6]), strict=True):
        np.testing.assert_array_equal(outcome["y"], function(request(*rows).inputs["x"]))


def test_a_request_larger_than_the_maximum_runs_in_pieces():
    model = RecordingModel()
    run = run_batch(call(model), [request(1, 2, 3, 4, 5)], max_rows=2)
    assert model.rows() == [[1, 2], [3, 4], [5]]
    assert run.outcomes[0]["y"].ravel().tolist() == [2, 3, 4, 5, 6]


def test_a_request_larger_than_the_maximum_runs_whole_where_rows_influence_each_other():
    model = RecordingModel(lambda x: x - x.mean(axis=0))
    run = run_batch(call(model, batchable=False), [request(1, 2, 3)], max_rows=2)
    assert model.rows() == [[1, 2, 3]]
    assert run.outcomes[0]["y"][:, 0].tolist() == [-1, 0, 1]


def test_a_request_whose_pieces_are_not_divisible_runs_whole():
    model = RecordingModel(lambda x: x.sum(axis=0))
    run = run_batch(call(model), [request(1, 2, 3)], max_rows=1)
    assert run.outcomes[0]["y"].tolist() == [6, 3]
    assert not run.divisible


def test_an_abandoned_request_does_not_run():
    model = RecordingModel()
    left = request(1)
    left.gone = True
    run = run_batch(call(model), [left], max_rows=10)
    assert model.batches == []
    assert isinstance(run.outcomes[0], ServingError)


def test_a_failure_that_the_engine_does_not_know_is_an_internal_error_and_logged(caplog):
    def fail(x: np.ndarray) -> np.ndarray:
        raise ZeroDivisionError("by zero")

    run = run_batch(call(RecordingModel(fail)), [request(1)], max_rows=10)
    assert run.outcomes[0].code == Code.INTERNAL
    assert "ZeroDivisionError: by zero" in run.outcomes[0].message
    assert "Traceback" in caplog.text


def test_requests_that_cannot_be_joined_after_all_are_answered_with_an_error(caplog):
    requests = [Waiting({"x": np.zeros((1, width), np.float32)}, 1) for width in (2, 3)]
    run = run_batch(call(RecordingModel()), requests, max_rows=10)
    assert [outcome.code for outcome in run.outcomes] == [Code.INTERNAL, Code.INTERNAL]
    assert "could not be handled" in caplog.text


@pytest.mark.parametrize(("output_shape", "joins"), [((None, 1), True), ((4, 1), False), ((), False), (None, False)])
def test_only_signatures_with_a_dynamic_first_dimension_join(output_shape, joins):
    assert call(RecordingModel(output_shape=output_shape)).joins is joins


def ragged(*values: float) -> Waiting:
    """One row of as many columns as there are values."""
    return Waiting({"x": np.array([values], np.float32)}, 1)


def test_a_batch_is_filled_up_to_the_next_size_with_the_first_row_of_the_last_request():
    model = RecordingModel()
    run = run_batch(call(model), [request(1), request(2, 3)], max_rows=8, sizes=(2, 5, 8))
    assert model.rows() == [[1, 2, 3, 2, 2]]
    assert [outcome["y"].ravel().tolist() for outcome in run.outcomes] == [[2], [3, 4]]


@pytest.mark.parametrize(("rows", "batch"), [((1.0,), [1, 1]), ((1.0, 2.0), [1, 2]), ((), [])])
def test_a_single_request_is_filled_up_too(rows, batch):
    model = RecordingModel()
    run = run_batch(
        call(model), [Waiting({"x": np.array(rows, np.float32).reshape(-1, 1)}, len(rows))], max_rows=8, sizes=(2, 8)
    )
    assert model.rows() == [batch]
    assert run.outcomes[0]["y"].ravel().tolist() == list(rows)


def test_the_pieces_of_a_large_request_are_filled_up():
    model = RecordingModel()
    run = run_batch(call(model), [request(1, 2, 3)], max_rows=2, sizes=(2,))
    assert model.rows() == [[1, 2], [3, 3]]
    assert run.outcomes[0]["y"].ravel().tolist() == [2, 3, 4]


def test_a_batch_whose_outputs_do_not_follow_its_rows_is_not_filled_up():
    model = RecordingModel(lambda x: np.full((7, 1), len(x), np.float32))
    run = run_batch(call(model), [request(1)], max_rows=8, sizes=(4,))
    assert run.outcomes[0]["y"].ravel().tolist() == [1] * 7
    assert not run.divisible


def test_padding_that_takes_too_much_memory_is_not_done(monkeypatch):
    model = RecordingModel()
    requests = [request(1, 2, 3), ragged(*range(100))]
    monkeypatch.setattr("serving.batch.MAX_PADDED_BYTES", 4 * 100 * 4)  # four rows of 100 floats
    assert len(run_batch(call(model), requests, max_rows=8, pads=True).outcomes) == 2
    monkeypatch.setattr("serving.batch.MAX_PADDED_BYTES", 4 * 100 * 4 - 1)
    run = run_batch(call(model), requests, max_rows=8, pads=True)
    assert [batch.shape for batch in model.batches] == [(4, 100), (3, 2), (1, 100)]
    assert [outcome["y"].ravel().tolist() for outcome in run.outcomes] == [[2, 3, 4], [4950]]
    assert run.divisible


def test_requests_of_different_lengths_are_padded_with_their_own_first_element():
    model = RecordingModel()
    run = run_batch(call(model), [ragged(1, 2, 3), ragged(7)], max_rows=8, pads=True)
    assert [batch.tolist() for batch in model.batches] == [[[1, 2, 3], [7, 7, 7]]]
    assert [outcome["y"].ravel().tolist() for outcome in run.outcomes] == [[6], [21]]
