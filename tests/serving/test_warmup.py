import asyncio
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from export.manifest import digest_files, load_manifest, save_manifest
from serving.errors import Code, ServingError
from serving.grpc.tensors import encode_tensor
from serving.metrics import Metrics
from serving.protos import prediction_log_pb2
from serving.tfrecord import encode_record
from serving.types import ExampleReading, Signature, TensorInfo
from serving.warmup import WARMUP_FILE, WarmUpOptions, replay_warmup
from tests.serving.bench import ServingBench, run_bench
from tests.serving.bundles import FEATURES, write_bundle
from tests.serving.models import FLOAT, RecordingModel
from tests.serving.saved_models import write_examples_model
from tests.serving.test_metrics import value

X = np.arange(2 * FEATURES, dtype=np.float32).reshape(2, FEATURES)


def predict_log(signature: str = "", x: np.ndarray = X, **inputs: np.ndarray) -> prediction_log_pb2.PredictionLog:
    log = prediction_log_pb2.PredictionLog()
    request = log.predict_log.request
    request.model_spec.name = "of another name"
    request.model_spec.signature_name = signature
    for name, array in {"x": x, **inputs}.items():
        encode_tensor(array, request.inputs[name])
    return log


def example_input(message, *values: float) -> None:
    for each in values:
        message.example_list.examples.add().features.feature["x"].float_list.value.append(each)


def write_records(folder: Path, *logs: prediction_log_pb2.PredictionLog | bytes) -> Path:
    path = folder / WARMUP_FILE
    path.parent.mkdir(parents=True, exist_ok=True)
    contents = [log if isinstance(log, bytes) else log.SerializeToString() for log in logs]
    path.write_bytes(b"".join(map(encode_record, contents)))
    return path


def replay(folder: Path, model: RecordingModel, metrics: Metrics | None = None, **options) -> set[str]:
    return replay_warmup(
        folder,
        model,
        lambda name, inputs, outputs: model.run(name, inputs, outputs) and None,
        options=WarmUpOptions(**options),
        refuse_non_finite=True,
        metrics=metrics or Metrics(),
    )


def test_records_are_run_in_their_order_and_counted(tmp_path):
    write_records(tmp_path, predict_log(), predict_log("explain", X[:1] + 1))
    model, metrics = RecordingModel(), Metrics()
    assert replay(tmp_path, model, metrics) == {"serving_default", "explain"}
    assert model.rows() == [[0.0, 4.0], [1.0]]
    labels = {"model_path": str(tmp_path), "status": "OK"}
    assert value(metrics, ":tensorflow:serving:model_warmup_records_read", **labels) == 2
    assert value(metrics, ":tensorflow:serving:model_warmup_latency_count", **labels) == 1


def test_records_are_run_as_often_as_asked(tmp_path):
    write_records(tmp_path, predict_log())
    model = RecordingModel()
    replay(tmp_path, model, num_iterations=3)
    assert len(model.batches) == 3


def test_without_a_file_nothing_runs(tmp_path):
    model, metrics = RecordingModel(), Metrics()
    assert replay(tmp_path, model, metrics) == set()
    assert model.batches == []
    assert b"model_warmup_records_read{" not in metrics.expose()


def test_records_of_examples_are_run_as_their_signatures_take_them(tmp_path):
    classify, regress, multi = (prediction_log_pb2.PredictionLog() for _ in range(3))
    example_input(classify.classify_log.request.input, 1.0)
    example_input(regress.regress_log.request.input, 2.0, 3.0)
    regress.regress_log.request.model_spec.signature_name = "serving_default"
    tasks = multi.multi_inference_log.request.tasks
    tasks.add(method_name="tensorflow/serving/classify").model_spec.signature_name = "serving_default"
    tasks.add(method_name="tensorflow/serving/regress").model_spec.signature_name = "other"
    example_input(multi.multi_inference_log.request.input, 4.0)
    write_records(tmp_path, classify, regress, multi)
    model = RecordingModel()
    signature = Signature(
        {"x": TensorInfo("x", FLOAT, (None, 1), "x")},
        {"y": TensorInfo("y", FLOAT, (None, 1), "y")},
        example_reading=ExampleReading("y"),
    )
    model.signatures = {"serving_default": signature, "other": signature}
    assert replay(tmp_path, model) == {"serving_default", "other"}
    assert model.rows() == [[1.0], [2.0, 3.0], [4.0], [4.0]]


def _streamed() -> prediction_log_pb2.PredictionLog:
    log = prediction_log_pb2.PredictionLog()
    log.predict_streamed_log.request.add()
    return log


@pytest.mark.parametrize(
    ("log", "code", "message"),
    [
        (_streamed(), Code.UNIMPLEMENTED, "Unsupported log_type for warmup: predict_streamed_log"),
        (prediction_log_pb2.PredictionLog(), Code.UNIMPLEMENTED, "Unsupported log_type for warmup: none"),
        (b"\xff\xff", Code.INVALID_ARGUMENT, "Failed to parse warmup record of 2 bytes"),
        (predict_log("other"), Code.FAILED_PRECONDITION, 'Serving signature key "other" not found.'),
        (predict_log(z=X), Code.INVALID_ARGUMENT, "input size does not match signature: 2!=1"),
        (predict_log(x=X.astype(np.int32)), Code.INVALID_ARGUMENT, "float"),
        (predict_log(x=X * np.nan), Code.INVALID_ARGUMENT, "finite"),
    ],
)
def test_a_record_that_fails_is_named(tmp_path, log, code, message):
    path = write_records(tmp_path, predict_log(), log)
    model, metrics = RecordingModel(), Metrics()
    with pytest.raises(ServingError, match=rf"^Warm-up record 2 of {path} failed: .*{message}") as raised:
        replay(tmp_path, model, metrics)
    assert raised.value.code == code
    assert value(metrics, ":tensorflow:serving:model_warmup_latency_count", status=code.name) == 1


def test_a_file_that_is_no_tfrecord_is_an_error(tmp_path):
    path = write_records(tmp_path, predict_log())
    path.write_bytes(path.read_bytes()[:-3])
    with pytest.raises(ServingError, match=r"Please verify your warmup data is in TFRecord format\.$") as raised:
        replay(tmp_path, RecordingModel())
    assert raised.value.code == Code.DATA_LOSS


def test_more_than_a_thousand_records_are_refused(tmp_path):
    path = write_records(tmp_path, *[predict_log(x=X[:1])] * 1001)
    model = RecordingModel()
    with pytest.raises(ServingError, match=rf"^Number of warmup records exceeds the maximum \(1000\) at {path}$"):
        replay(tmp_path, model)
    assert len(model.batches) == 1000


def _serve_with(tmp_path: Path, *logs: prediction_log_pb2.PredictionLog, **execution) -> ServingBench:
    """A version whose warm-up file is no part of the manifest: bundles allow that."""
    write_records(write_bundle(tmp_path, 1), *logs)
    return ServingBench(tmp_path, **execution)


def test_a_version_whose_warm_up_fails_is_not_served_and_the_old_one_stays(tmp_path):
    write_bundle(tmp_path, 1)
    bench = ServingBench(tmp_path)

    async def test(bench):
        write_records(write_bundle(tmp_path, 2), predict_log(x=X[:, :3]))
        await bench.manager.poll()
        assert bench.states() == {1: "AVAILABLE", 2: "END"}
        status = bench.data_plane.status("dense", 2).versions[0]
        assert status.error_message.startswith("Warm-up record 1 of ")
        text = bench.metrics.expose().decode()
        assert 'whyserve_in_flight_requests{model="dense",version="2"}' not in text, "what failed leaves no gauges"
        assert f':tensorflow:cc:saved_model:load_attempt_count{{model_path="{tmp_path / "2"}",status="fail"}} 1' in text

    run_bench(bench, test)


def test_warm_up_can_be_turned_off(tmp_path):
    bench = _serve_with(tmp_path, predict_log(x=X[:, :3]), warm_up=WarmUpOptions(enabled=False))

    async def test(bench):
        assert bench.states() == {1: "AVAILABLE"}
        await asyncio.sleep(0)

    run_bench(bench, test)


def test_signatures_without_a_record_are_run_on_zeros(tmp_path):
    bench = _serve_with(tmp_path, predict_log("explain"))

    async def test(bench):
        servable = bench.manager.served()["dense"]
        calls = {name: call.run_time.expected_s(1) for (name, _), call in servable._calls.items()}
        assert calls.keys() == {"serving_default", "explain", "explain_target"}
        assert all(np.isfinite(seconds) for seconds in calls.values())
        assert len(servable.manifest_digest) == 64
        await asyncio.sleep(0)

    run_bench(bench, test)


@pytest.mark.parametrize("change", ["replace", "remove"])
def test_the_warm_up_file_of_a_bundle_may_be_another_than_the_exported_one(tmp_path, change):
    folder = write_bundle(tmp_path, 1)
    path = write_records(folder, *[predict_log()] * 5)
    manifest = load_manifest(folder)
    save_manifest(replace(manifest, files=digest_files(folder)), folder)
    path.unlink()
    if change == "replace":
        write_records(folder, predict_log("explain", X[:1]))
    bench = ServingBench(tmp_path)

    async def test(bench):
        assert bench.states() == {1: "AVAILABLE"}
        read = value(bench.metrics, ":tensorflow:serving:model_warmup_records_read", status="OK")
        assert read == (1 if change == "replace" else None)
        await asyncio.sleep(0)

    run_bench(bench, test)


@pytest.mark.slow
def test_a_saved_model_runs_its_records_through_its_own_parsing(tmp_path):
    from serving.engines.tensorflow import TensorFlowEngine

    write_examples_model(tmp_path, 1)
    log = prediction_log_pb2.PredictionLog()
    log.classify_log.request.model_spec.signature_name = "classify"
    example_input(log.classify_log.request.input, 2.0)
    write_records(tmp_path / "1", log)
    model = TensorFlowEngine().load(tmp_path / "1")
    outputs = []
    ran = replay_warmup(
        tmp_path / "1",
        model,
        lambda name, inputs, names: outputs.append(model.run(name, inputs, names)),
        options=WarmUpOptions(),
        refuse_non_finite=False,
        metrics=Metrics(),
    )
    model.close()
    assert ran == {"classify"}
    assert outputs[0]["scores"].ravel().tolist() == [3.0]  # 2 / 2 + 2
