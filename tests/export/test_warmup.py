from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from tensorflow_serving.apis import prediction_log_pb2

from export.errors import IntegrityError
from export.warmup import Record, read_warmup, write_warmup


def logs(bundle: Path) -> list[prediction_log_pb2.PredictionLog]:
    path = bundle / "assets.extra" / "tf_serving_warmup_requests"
    return [prediction_log_pb2.PredictionLog.FromString(raw.numpy()) for raw in tf.data.TFRecordDataset(str(path))]


def test_records_name_the_model_and_both_signatures_for_one_example_and_several(bundle: Path) -> None:
    found = []
    for log in logs(bundle):
        assert log.WhichOneof("log_type") == "predict_log"
        request = log.predict_log.request
        assert request.model_spec.name == "digits"
        found.append((request.model_spec.signature_name, request.inputs["image"].tensor_shape.dim[0].size))
    assert found == [("serving_default", 1), ("serving_default", 8), ("explain", 1), ("explain", 8)]


def test_requests_replay_in_a_session_and_give_the_recorded_answers(bundle: Path) -> None:
    records = read_warmup(bundle)
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        signatures = tf.compat.v1.saved_model.load(session, ["serve"], str(bundle)).signature_def
        for record in records:
            signature = signatures[record.signature]
            feed = {signature.inputs[name].name: values for name, values in record.inputs.items()}
            answers = session.run({name: info.name for name, info in signature.outputs.items()}, feed)
            for name, values in answers.items():
                np.testing.assert_allclose(values, record.outputs[name], rtol=1e-4, atol=1e-5)


def test_the_inputs_are_the_run_folders_own_examples(bundle: Path, run_folder: Path) -> None:
    images = np.load(run_folder / "samples.npz")["image"]
    np.testing.assert_array_equal(read_warmup(bundle)[1].inputs["image"], images[:8])


@pytest.mark.parametrize(
    "values",
    [
        np.arange(6, dtype=np.int32).reshape(2, 3),
        np.array([[0, 255]], np.uint8),
        np.array([["a"], ["bé".encode()]], dtype=object),
        np.zeros((1, 0), np.float32),
    ],
)
def test_arrays_of_every_kind_survive(values: np.ndarray, tmp_path: Path) -> None:
    write_warmup(tmp_path, "m", [Record("serving_default", {"x": values}, {"y": values})])
    read = read_warmup(tmp_path)[0]
    expected = np.array([[b"a"], ["bé".encode()]], object) if values.dtype == object else values
    np.testing.assert_array_equal(read.inputs["x"], expected)
    np.testing.assert_array_equal(read.outputs["y"], expected)


def test_what_is_no_prediction_log_is_refused(tmp_path: Path) -> None:
    (tmp_path / "assets.extra").mkdir()
    with tf.io.TFRecordWriter(str(tmp_path / "assets.extra" / "tf_serving_warmup_requests")) as writer:
        writer.write(b"\xff\xff\xff")
    with pytest.raises(IntegrityError, match="must be a TFRecord of PredictionLog"):
        read_warmup(tmp_path)
