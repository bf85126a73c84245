"""The warm-up file of a bundle: requests that TensorFlow Serving replays before it serves, with their answers.

TensorFlow Serving ignores the answers; `verify` holds the bundle against them.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from google.protobuf.message import DecodeError
from tensorflow_serving.apis import predict_pb2, prediction_log_pb2

from export.errors import IntegrityError

WARMUP_FILE = "assets.extra/tf_serving_warmup_requests"
MAX_RECORDS = 1000  # TensorFlow Serving reads no more


@dataclass(frozen=True)
class Record:
    """A request and the answer that the Keras model gave to it."""

    signature: str
    inputs: dict[str, np.ndarray]
    outputs: dict[str, np.ndarray]


def write_warmup(directory: Path, name: str, records: Sequence[Record]) -> Path:
    """Write the warm-up file of the bundle in `directory`.

    Args:
        directory: The bundle's folder.
        name: The bundle's name, for `model_spec.name`.
        records: At most 1000.
    """
    path = directory / WARMUP_FILE
    path.parent.mkdir(exist_ok=True)
    with tf.io.TFRecordWriter(str(path)) as writer:
        for record in records[:MAX_RECORDS]:
            writer.write(_log(name, record).SerializeToString(deterministic=True))
    return path


def read_warmup(directory: Path) -> list[Record]:
    """The records of a bundle's warm-up file.

    Raises:
        IntegrityError: The file isn't a TFRecord of PredictionLog.
    """
    path = directory / WARMUP_FILE
    try:
        raw = [value.numpy() for value in tf.data.TFRecordDataset(str(path))]
        return [_record(prediction_log_pb2.PredictionLog.FromString(value).predict_log) for value in raw]
    except (tf.errors.OpError, DecodeError, ValueError, TypeError) as error:
        raise IntegrityError(f"{path} must be a TFRecord of PredictionLog. Received: {error}") from error


def _log(name: str, record: Record) -> Any:
    request = predict_pb2.PredictRequest()
    request.model_spec.name = name
    request.model_spec.signature_name = record.signature
    response = predict_pb2.PredictResponse()
    response.model_spec.CopyFrom(request.model_spec)
    for tensors, arrays in ((request.inputs, record.inputs), (response.outputs, record.outputs)):
        for key, values in arrays.items():
            tensors[key].CopyFrom(tf.make_tensor_proto(values))
    return prediction_log_pb2.PredictionLog(
        predict_log=prediction_log_pb2.PredictLog(request=request, response=response)
    )


def _record(log: Any) -> Record:
    inputs = {name: tf.make_ndarray(tensor) for name, tensor in log.request.inputs.items()}
    outputs = {name: tf.make_ndarray(tensor) for name, tensor in log.response.outputs.items()}
    return Record(log.request.model_spec.signature_name, inputs, outputs)
