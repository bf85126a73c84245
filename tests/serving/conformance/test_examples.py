"""Classify, Regress and MultiInference, over gRPC and REST, on both engines: what they answer."""

import asyncio
from typing import Any

import numpy as np
import pytest

from serving.protos import classification_pb2, inference_pb2, input_pb2, model_pb2, regression_pb2
from tests.serving.bundles import kernel_of, softmax
from tests.serving.conformance.server import Server
from tests.serving.conformance.test_grpc_errors import CLASSIFY, REGRESS, classify, example, examples, multi, regress

X = [[1.0, 2.0, 3.0, 4.0], [0.0, 0.0, -1.0, 1.0]]


def spec(signature: str = "", **choice: Any) -> dict[str, Any]:
    """A ModelSpec of the SavedModel."""
    return {"name": "half_plus_two", "signature_name": signature, **choice}


def answered(name: str, version: int, signature: str) -> model_pb2.ModelSpec:
    """The ModelSpec of a reply."""
    return model_pb2.ModelSpec(name=name, version={"value": version}, signature_name=signature)


def classes(reply: classification_pb2.ClassificationResponse) -> list[list[tuple[str, float]]]:
    """Labels and scores of each example."""
    return [[(each.label, each.score) for each in row.classes] for row in reply.result.classifications]


def values(reply: regression_pb2.RegressionResponse) -> list[float]:
    """The value of each example."""
    return [each.value for each in reply.result.regressions]


def values_of(lines: list[str]) -> list[float]:
    """What stands at the end of lines of metrics."""
    return [float(line.rpartition(" ")[2]) for line in lines]


def merged(context: dict[str, Any], *items: dict[str, Any]) -> input_pb2.Input:
    """An input with a context."""
    return input_pb2.Input(example_list_with_context={"context": context, "examples": items})


@pytest.mark.slow
@pytest.mark.parametrize(
    ("signature", "expected"),
    [
        # y = x / 2 + 2: 2 -> 3, 20 -> 12
        ("classify", [[("", 3.0)], [("", 12.0)]]),
        ("classify_both", [[("small", 3.0), ("large", 13.0)], [("small", 12.0), ("large", 22.0)]]),
        ("classify_labels", [[("small", 0.0), ("large", 0.0)]] * 2),
    ],
)
def test_a_graph_that_parses_examples_classifies_them(tensorflow: Server, signature: str, expected: Any) -> None:
    reply = tensorflow.call("Classify", classify(spec(signature), examples(example(x=[2.0]), example(x=[20.0]))))
    assert classes(reply) == expected
    assert reply.model_spec == answered("half_plus_two", 2, signature)
    body = {"signature_name": signature, "examples": [{"x": 2.0}, {"x": [2e1]}]}
    pairs = [[list(each) for each in row] for row in expected]
    assert tensorflow.post("/v1/models/half_plus_two:classify", body) == (200, {"results": pairs})


@pytest.mark.slow
def test_a_graph_that_parses_examples_regresses_them(tensorflow: Server) -> None:
    asked = examples(example(x=[2.0]), example(x=[4.0]))
    reply = tensorflow.call("Regress", regress(spec("regress", version={"value": 1}), asked))
    assert values(reply) == [3.0, 4.0]
    assert reply.model_spec == answered("half_plus_two", 1, "regress")
    body = {"signature_name": "regress", "examples": [{"x": 2.0}, {"x": 4.0}]}
    assert tensorflow.post("/v1/models/half_plus_two/versions/1:regress", body) == (200, {"results": [3.0, 4.0]})


@pytest.mark.slow
def test_the_context_s_features_are_in_every_example_that_lacks_them(tensorflow: Server, onnx: Server) -> None:
    asked = merged(example(x=[4.0], y=[b"unused"]), example(), example(x=[2.0]))
    assert values(tensorflow.call("Regress", regress(spec("regress"), asked))) == [4.0, 3.0]
    body = {"signature_name": "regress", "context": {"x": 4.0}, "examples": [{}, {"x": 2.0}]}
    assert tensorflow.post("/v1/models/half_plus_two:regress", body) == (200, {"results": [4.0, 3.0]})
    reply = onnx.call("Regress", regress({"name": "double"}, asked))
    assert values(reply) == [8.0, 4.0]


@pytest.mark.slow
def test_the_method_of_a_signature_does_not_matter(tensorflow: Server) -> None:
    # `regress_plus_three` says predict, and Predict takes a signature that says regress.
    asked = examples(example(x=[2.0]))
    assert values(tensorflow.call("Regress", regress(spec("regress_plus_three"), asked))) == [4.0]
    serialized = asked.example_list.examples[0].SerializeToString()
    from tests.serving.grpc.servers import predict_request

    request = predict_request({"inputs": np.array([serialized], object)}, **spec("regress"))
    assert list(tensorflow.call("Predict", request).outputs["outputs"].float_val) == [3.0]


@pytest.mark.slow
def test_multi_inference_answers_all_tasks_in_one_run(tensorflow: Server) -> None:
    tasks = [(spec("regress"), REGRESS), (spec("classify_both"), CLASSIFY), (spec("regress_other"), REGRESS)]
    reply = tensorflow.call("MultiInference", multi(*tasks, input_=examples(example(x=[2.0]), example(x=[4.0]))))
    regressed, classified, other = reply.results
    assert [each.value for each in regressed.regression_result.regressions] == [3.0, 4.0]
    assert [each.value for each in other.regression_result.regressions] == [3.0, 4.0]
    rows = classified.classification_result.classifications
    assert [[each.label for each in row.classes] for row in rows] == [["small", "large"]] * 2
    assert [[each.score for each in row.classes] for row in rows] == [[3.0, 13.0], [4.0, 14.0]]
    assert [each.model_spec for each in reply.results] == [
        answered("half_plus_two", 2, name) for name in ("regress", "classify_both", "regress_other")
    ]
    lines = tensorflow.metrics.expose().decode().splitlines()
    runs = [line for line in lines if line.startswith("whyserve_run_seconds_count") and "regress_other" in line]
    assert len(runs) == 1
    assert 'signature="classify_both + regress + regress_other"' in runs[0]


@pytest.mark.slow
def test_a_graph_error_over_bytes_that_are_no_text_is_the_client_s(tensorflow: Server) -> None:
    from tests.serving.grpc.servers import predict_request

    request = predict_request({"inputs": np.array([b"\xff\xfe"], object)}, **spec("regress"))
    code, text = tensorflow.failure("Predict", request)
    assert code == "INVALID_ARGUMENT"
    assert text.startswith("Could not parse example input, value: '\ufffd")


@pytest.mark.parametrize("signature", ["", "serving_default", "explain"])
def test_a_bundle_classifies_by_its_dense_input(onnx: Server, signature: str) -> None:
    asked = examples(*[example(x=row) for row in X])
    reply = onnx.call("Classify", classify({"name": "dense", "signature_name": signature}, asked))
    expected = softmax(np.array(X) @ kernel_of(2))
    np.testing.assert_allclose([[score for _, score in row] for row in classes(reply)], expected, atol=1e-6)
    assert [[label for label, _ in row] for row in classes(reply)] == [["a", "b", "c"]] * 2
    assert reply.model_spec == answered("dense", 2, signature or "serving_default")


def test_a_bundle_answers_over_rest(onnx: Server) -> None:
    status, reply = onnx.post("/v1/models/dense/versions/1:classify", {"examples": [{"x": row} for row in X]})
    assert status == 200
    assert [[label for label, _ in row] for row in reply["results"]] == [["a", "b", "c"]] * 2
    scores = [[score for _, score in row] for row in reply["results"]]
    np.testing.assert_allclose(scores, softmax(np.array(X) @ kernel_of(1)), atol=1e-6)
    assert onnx.post("/v1/models/double:regress", {"examples": [{"x": 2.5}, {"x": 0.1}]}) == (
        200,
        {"results": [5.0, 0.2]},
    )


def test_a_bundle_answers_several_tasks_over_the_same_examples(onnx: Server) -> None:
    tasks = [({"name": "dense", "signature_name": name}, CLASSIFY) for name in ("explain", "")]
    reply = onnx.call("MultiInference", multi(*tasks, input_=examples(*[example(x=row) for row in X])))
    expected = softmax(np.array(X) @ kernel_of(2))
    for result, name in zip(reply.results, ("explain", "serving_default"), strict=True):
        assert result.model_spec == answered("dense", 2, name)
        rows = result.classification_result.classifications
        np.testing.assert_allclose([[each.score for each in row.classes] for row in rows], expected, atol=1e-6)


def test_requests_over_examples_share_a_run(onnx: Server) -> None:
    def runs_and_rows() -> tuple[float, float]:
        lines = onnx.metrics.expose().decode().splitlines()
        mine = [line for line in lines if 'model="plain"' in line and 'signature="serving_default"' in line]
        found = {line.partition("{")[0]: float(line.rpartition(" ")[2]) for line in mine}
        return found.get("whyserve_batch_rows_count", 0), found.get("whyserve_batch_rows_sum", 0)

    async def ask_at_once() -> None:
        from serving.inference import find_task, infer
        from serving.tasks import Method
        from serving.types import ModelSpec

        asked, task = find_task(onnx.plane, ModelSpec("plain"), Method.CLASSIFY)
        one = examples(example(x=X[0])).example_list.examples[0].SerializeToString()
        await asyncio.gather(*[infer(onnx.plane, asked, task, [one], timeout_s=20) for _ in range(8)])

    before = runs_and_rows()
    onnx.run(ask_at_once())
    after = runs_and_rows()
    assert (after[0] - before[0], after[1] - before[1]) == (1, 8)


def test_what_is_not_finite_is_refused_for_a_bundle(onnx: Server) -> None:
    status, reply = onnx.post("/v1/models/dense:classify", b'{"examples": [{"x": [1.0, NaN, 1.0, 1e39]}]}')
    assert status == 400
    assert reply["error"].startswith("Input 'x' must hold finite numbers. Received: nan at index [0, 1], 2 of 4")


def test_requests_over_examples_are_counted(onnx: Server) -> None:
    def lines(metric: str) -> list[str]:
        start = f":tensorflow:serving:{metric}{{"
        found = onnx.metrics.expose().decode().splitlines()
        return [line for line in found if line.startswith(start) and 'double"' in line]

    onnx.call("Classify", classify({"name": "dense"}, examples(example(x=X[0]))))
    onnx.call("Regress", regress({"name": "double"}, examples(example(x=[1.0]))))
    onnx.post("/v1/models/double:regress", {"examples": [{"x": 1.0}]})
    for api, entrypoint in (("Regress", "GRPC"), ("regress", "REST")):
        labels = f'model_name="double",API="{api}",entrypoint="{entrypoint}"'
        assert [line for line in lines("request_latency_count") if labels in line]
    names = ("request_example_count_total", "request_example_counts_count")
    before = [lines(name) for name in names]
    onnx.call("Regress", regress({"name": "double"}, examples(example(x=[1.0]))))
    assert [lines(name) for name in names] == before  # only MultiInference counts examples
    onnx.call("MultiInference", multi(({"name": "double"}, REGRESS), input_=examples(*[example(x=[1.0])] * 3)))
    grown = [sum(values_of(lines(name))) - sum(values_of(old)) for name, old in zip(names, before, strict=True)]
    assert grown == [3.0, 1.0]


def test_a_multi_inference_result_is_a_oneof(onnx: Server) -> None:
    reply = onnx.call("MultiInference", multi(({"name": "double"}, REGRESS), input_=examples(example(x=[1.5]))))
    assert isinstance(reply, inference_pb2.MultiInferenceResponse)
    assert reply.results[0].WhichOneof("result") == "regression_result"
    assert [each.value for each in reply.results[0].regression_result.regressions] == [3.0]


@pytest.fixture
def checked(onnx: Server, monkeypatch: pytest.MonkeyPatch) -> Server:
    """The server as with --enable_signature_method_name_check."""
    monkeypatch.setattr(onnx.plane, "checks_method_names", True)
    return onnx


def test_methods_are_checked_where_that_is_asked_for(checked: Server) -> None:
    asked = examples(example(x=[1.0]))
    was = "Was: tensorflow/serving/predict"
    for rpc, request, kind, method in (
        ("Classify", classify({"name": "double"}, asked), "classification", CLASSIFY),
        ("Regress", regress({"name": "double"}, asked), "regression", REGRESS),
        ("MultiInference", multi(({"name": "double"}, REGRESS), input_=asked), "regression", REGRESS),
    ):
        text = f"Expected {kind} signature method_name to be {method}. {was}"
        assert checked.failure(rpc, request) == ("INVALID_ARGUMENT", text)
