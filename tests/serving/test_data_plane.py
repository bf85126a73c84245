import asyncio

import numpy as np
import pytest

from serving.batching import BatchLimits
from serving.errors import Code, ServingError
from serving.types import ModelSpec
from tests.serving.bench import ServingBench, run_bench
from tests.serving.bundles import CLASSES, FEATURES, kernel_of, softmax, write_bundle
from tests.serving.models import RecordingModel
from tests.serving.test_manager import HeldEngine

SPEC = ModelSpec("dense")
EXPLAIN = ModelSpec("dense", signature_name="explain")
EXPLAIN_TARGET = ModelSpec("dense", signature_name="explain_target")


BATCH_SIZES = "Received: 2 in 'x', 1 in 'target'."
ADVICE = "Replace missing values before sending them."


def some_rows(number: int) -> np.ndarray:
    return np.random.default_rng(0).normal(size=(number, FEATURES)).astype(np.float32)


@pytest.fixture
def bench(tmp_path):
    write_bundle(tmp_path, 1)
    return ServingBench(tmp_path)


def test_a_prediction_is_that_of_the_model(bench):
    async def test(bench):
        x = some_rows(5)
        prediction = await bench.data_plane.predict(SPEC, {"x": x})
        assert prediction.spec == ModelSpec("dense", 1, None, "serving_default")
        np.testing.assert_allclose(prediction.outputs["probabilities"], softmax(x @ kernel_of(1)), rtol=1e-5)

    run_bench(bench, test)


def test_an_explanation_is_that_of_the_predicted_class(bench):
    async def test(bench):
        x = some_rows(5)
        outputs = (await bench.data_plane.predict(EXPLAIN, {"x": x})).outputs
        predicted = (x @ kernel_of(1)).argmax(axis=1)
        assert outputs["target"].tolist() == predicted.tolist()
        np.testing.assert_allclose(outputs["relevance"], x * kernel_of(1).T[predicted], rtol=1e-6)
        np.testing.assert_allclose(outputs["explained_value"], (x @ kernel_of(1)).max(axis=1), rtol=1e-5)

    run_bench(bench, test)


def test_an_explanation_is_that_of_the_target(bench):
    async def test(bench):
        x, target = some_rows(4), np.array([0, 2, -1, 1], np.int32)
        outputs = (await bench.data_plane.predict(EXPLAIN_TARGET, {"x": x, "target": target})).outputs
        expected = np.where(target < 0, (x @ kernel_of(1)).argmax(axis=1), target)
        assert outputs["target"].tolist() == expected.tolist()
        np.testing.assert_allclose(outputs["relevance"], x * kernel_of(1).T[expected], rtol=1e-6)

    run_bench(bench, test)


def test_concurrent_requests_are_answered_with_their_own_rows(bench):
    async def test(bench):
        requests = [some_rows(1 + number % 5) * (1 + number) for number in range(40)]
        answers = await asyncio.gather(*[bench.data_plane.predict(SPEC, {"x": x}) for x in requests])
        for x, answer in zip(requests, answers, strict=True):
            np.testing.assert_allclose(answer.outputs["probabilities"], softmax(x @ kernel_of(1)), rtol=1e-4, atol=1e-6)
        text = bench.metrics.expose().decode()
        count = next(line for line in text.splitlines() if line.startswith("whyserve_batch_rows_count{"))
        assert float(count.split()[-1]) < 10, "the requests were not joined"

    run_bench(bench, test)


def test_only_the_outputs_asked_for_come_back(bench):
    async def test(bench):
        prediction = await bench.data_plane.predict(EXPLAIN, {"x": some_rows(2)}, output_filter=["relevance", "target"])
        assert set(prediction.outputs) == {"relevance", "target"}

    run_bench(bench, test)


def test_any_number_of_different_output_filters_is_answered_from_a_bounded_number_of_calls(bench, monkeypatch):
    monkeypatch.setattr("serving.servable._MOST_CALLS", 6)

    async def test(bench):
        names = ["probabilities", "relevance", "target", "explained_value", "conservation_gap"]
        for number in range(1, 2 ** len(names)):
            wanted = [name for bit, name in enumerate(names) if number >> bit & 1]
            prediction = await bench.data_plane.predict(EXPLAIN, {"x": some_rows(1)}, output_filter=wanted)
            assert set(prediction.outputs) == set(wanted)
        assert len(bench.manager.find(SPEC)._calls) <= 6

    run_bench(bench, test)


def test_no_rows_are_answered_with_no_rows(bench):
    async def test(bench):
        outputs = (await bench.data_plane.predict(SPEC, {"x": some_rows(0)})).outputs
        assert outputs["probabilities"].shape == (0, CLASSES)

    run_bench(bench, test)


@pytest.mark.parametrize(
    ("spec", "inputs", "code", "message"),
    [
        (
            ModelSpec("dense", signature_name="nope"),
            {"x": some_rows(1)},
            Code.FAILED_PRECONDITION,
            'Serving signature key "nope" not found.',
        ),
        (
            SPEC,
            {"x": np.zeros((2, 5), np.float32)},
            Code.INVALID_ARGUMENT,
            "Input 'x' must have shape (batch, 4). Received: (2, 5).",
        ),
        (
            SPEC,
            {"x": np.zeros(4, np.float32)},
            Code.INVALID_ARGUMENT,
            "Input 'x' must have shape (batch, 4). Received: (4,).",
        ),
        (
            EXPLAIN_TARGET,
            {"x": some_rows(2), "target": np.zeros(1, np.int32)},
            Code.INVALID_ARGUMENT,
            "All inputs of a request must have the same batch size, their first dimension. " + BATCH_SIZES,
        ),
        (
            EXPLAIN_TARGET,
            {"x": some_rows(1), "target": np.array([3], np.int32)},
            Code.INVALID_ARGUMENT,
            "`target` must lie in [0, 2], or be -1 for the predicted class. Received: target=3.",
        ),
        (
            SPEC,
            {"x": np.full((1, 4), np.nan, np.float32)},
            Code.INVALID_ARGUMENT,
            "Input 'x' must hold finite numbers. Received: nan at index [0, 0], 4 of 4 values not finite. " + ADVICE,
        ),
    ],
    ids=["signature", "shape", "rank", "batch sizes", "target", "nan"],
)
def test_bad_requests_are_refused_with_what_was_expected_and_what_came(bench, spec, inputs, code, message):
    async def test(bench):
        with pytest.raises(ServingError) as refused:
            await bench.data_plane.predict(spec, inputs)
        assert (refused.value.code, refused.value.message) == (code, message)
        await bench.data_plane.predict(SPEC, {"x": some_rows(1)})  # the server is still up

    run_bench(bench, test)


def test_a_bad_shape_fails_alone_among_concurrent_requests(bench):
    async def test(bench):
        shapes = [(1, 4), (1, 5), (2, 4), (4,), (1, 4)]
        answers = await asyncio.gather(
            *[bench.data_plane.predict(SPEC, {"x": np.ones(shape, np.float32)}) for shape in shapes],
            return_exceptions=True,
        )
        assert [isinstance(answer, ServingError) for answer in answers] == [False, True, False, True, False]

    run_bench(bench, test)


def test_values_that_are_not_finite_can_be_let_through(tmp_path):
    write_bundle(tmp_path, 1)

    async def test(bench):
        prediction = await bench.data_plane.predict(SPEC, {"x": np.full((1, 4), np.nan, np.float32)})
        assert np.isnan(prediction.outputs["probabilities"]).all()

    run_bench(ServingBench(tmp_path, refuse_non_finite=False), test)


def test_explanations_do_not_keep_predictions_waiting(tmp_path):
    """While an explanation holds its thread and its queue is full, predictions are answered."""
    (tmp_path / "1").mkdir()
    predictions, explanations = threading_gates = [RecordingModel(), RecordingModel()]
    model = RecordingModel()
    model.run = lambda name, inputs, names: threading_gates[name != "serving_default"].run(name, inputs, names)
    limits = BatchLimits(inline_limit_s=0.0, max_queued_requests=1)
    bench = ServingBench(tmp_path, engine=HeldEngine(model), predict=limits, explain=limits)

    async def test(bench):
        x = np.ones((1, 1), np.float32)
        explanations.gate.clear()
        explanations.entered.clear()
        running = asyncio.create_task(bench.data_plane.predict(EXPLAIN, {"x": x}))
        await asyncio.to_thread(explanations.entered.wait, 10)
        waiting = asyncio.create_task(bench.data_plane.predict(EXPLAIN, {"x": x}))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        with pytest.raises(ServingError, match="queue for explanations of model 'dense' version 1 is full") as refused:
            await bench.data_plane.predict(EXPLAIN_TARGET, {"x": x})
        assert refused.value.code == Code.RESOURCE_EXHAUSTED
        for _ in range(3):
            assert (await bench.data_plane.predict(SPEC, {"x": x})).outputs["y"].tolist() == [[1]]
        assert not running.done()
        assert not waiting.done()
        explanations.gate.set()
        await asyncio.gather(running, waiting)
        assert predictions.batches

    run_bench(bench, test)


def test_batching_can_be_turned_off(tmp_path):
    (tmp_path / "1").mkdir()
    model = RecordingModel()
    bench = ServingBench(tmp_path, engine=HeldEngine(model), batching=False)

    async def test(bench):
        model.batches.clear()
        x = np.ones((1, 1), np.float32)
        await asyncio.gather(*[bench.data_plane.predict(SPEC, {"x": x}) for _ in range(3)])
        assert model.rows() == [[1], [1], [1]]

    run_bench(bench, test)


def test_a_model_not_known_to_allow_it_is_joined_only_on_request(tmp_path):
    (tmp_path / "1").mkdir()
    for batching, rows in ((None, [[1], [1]]), (True, [[1, 1]])):
        model = RecordingModel()
        model.batchable = False

        async def test(bench, model=model, rows=rows):
            assert model.batches == [], "a model with unknown effects was warmed up"
            x = np.ones((1, 1), np.float32)
            await asyncio.gather(*[bench.data_plane.predict(SPEC, {"x": x}) for _ in range(2)])
            assert model.rows() == rows

        run_bench(ServingBench(tmp_path, engine=HeldEngine(model), batching=batching), test)


def test_what_is_served_can_be_looked_at(bench):
    async def test(bench):
        spec, signatures, explanation = bench.data_plane.resolve(SPEC)
        assert spec == ModelSpec("dense", 1, None, "serving_default")
        assert set(signatures) == {"serving_default", "explain", "explain_target"}
        assert explanation.class_labels == ("a", "b", "c")
        assert explanation.relevance == {"x": "relevance"}
        spec, signature = bench.data_plane.signature(EXPLAIN)
        assert spec.signature_name == "explain"
        assert set(signature.inputs) == {"x"}

    run_bench(bench, test)


def test_readiness_is_what_was_set(bench):
    async def test(bench):
        assert not bench.data_plane.ready()
        bench.data_plane.set_ready(ready=True)
        assert bench.data_plane.ready()

    run_bench(bench, test)
