"""A request that a model was asked, and its answer: as a JSON line, or as TensorFlow Serving's PredictionLog."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import numpy as np
import orjson

from serving.errors import Code
from serving.logs.arrays import array_from_json, array_to_json, num_bytes
from serving.types import ModelSpec

Arrays = Mapping[str, np.ndarray]

_OPTIONS = orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_APPEND_NEWLINE


@dataclass(frozen=True)
class Record:
    """One request as it was served.

    Attributes:
        spec: What answered: model, version and signature.
        inputs: The inputs by name, after defaults were filled in.
        outputs: The outputs asked for, by name; empty where the request failed.
        time_s: When it reached the model, in seconds since 1970.
        latency_s: Seconds until the model's answer, the queue among them.
        code: How it ended.
        error: The message of what failed.
        entrypoint: `REST` or `GRPC`.
        api: What was called, as in `Predict` or `explain`.
        client: Name of the client's token; empty where the server asks for none.
        trace_id: The trace it belongs to; empty where there is none.
    """

    spec: ModelSpec
    inputs: Arrays
    outputs: Arrays
    time_s: float = 0.0
    latency_s: float = 0.0
    code: Code = Code.OK
    error: str = ""
    entrypoint: str = ""
    api: str = ""
    client: str = ""
    trace_id: str = ""
    sampling_rate: float = field(default=1.0, kw_only=True)

    def num_bytes(self) -> int:
        """Bytes that it takes in memory, roughly."""
        return num_bytes(self.inputs) + num_bytes(self.outputs)


def to_json_line(record: Record) -> bytes:
    """A record as one line of JSON."""
    spec = record.spec
    line: dict[str, Any] = {
        "time": utc_text(record.time_s),
        "model": spec.name,
        "version": spec.version,
        "signature": spec.signature_name,
        "entrypoint": record.entrypoint,
        "api": record.api,
        "client": record.client,
        "trace_id": record.trace_id,
        "status": record.code.name,
        "latency_ms": round(record.latency_s * 1000, 3),
        "sampling_rate": record.sampling_rate,
        "inputs": {name: array_to_json(array) for name, array in record.inputs.items()},
        "outputs": {name: array_to_json(array) for name, array in record.outputs.items()},
    }
    if record.error:
        line["error"] = record.error.encode("utf-8", "replace").decode()
    return orjson.dumps(line, option=_OPTIONS)


def from_json_line(line: bytes) -> Record:
    """The record that `to_json_line` wrote.

    Raises:
        KeyError, TypeError, ValueError: It did not write this.
    """
    fields = orjson.loads(line)
    return Record(
        ModelSpec(str(fields["model"]), int(fields["version"]), None, str(fields["signature"])),
        {name: array_from_json(described) for name, described in fields["inputs"].items()},
        {name: array_from_json(described) for name, described in fields["outputs"].items()},
        time_s=datetime.fromisoformat(fields["time"]).timestamp(),
        latency_s=fields["latency_ms"] / 1000,
        code=Code[fields["status"]],
        error=fields.get("error", ""),
        entrypoint=fields["entrypoint"],
        api=fields["api"],
        client=fields["client"],
        trace_id=fields["trace_id"],
        sampling_rate=fields["sampling_rate"],
    )


def to_prediction_log(record: Record) -> bytes:
    """A record as a serialized PredictionLog: what warm-up files and TensorFlow's tools hold.

    Whatever was called, it is a Predict of the signature that answered. The message has no place for latency, client
    and trace.
    """
    from serving.grpc.tensors import encode_tensor
    from serving.protos import prediction_log_pb2
    from serving.protos.convert import model_spec_to_proto

    log = prediction_log_pb2.PredictionLog()
    model_spec_to_proto(record.spec, log.log_metadata.model_spec)
    log.log_metadata.timestamp_secs = int(record.time_s)
    log.log_metadata.sampling_config.sampling_rate = record.sampling_rate
    log.log_metadata.request_origin = record.entrypoint
    request, response = log.predict_log.request, log.predict_log.response
    model_spec_to_proto(record.spec, request.model_spec)
    model_spec_to_proto(record.spec, response.model_spec)
    for name, array in record.inputs.items():
        encode_tensor(array, request.inputs[name], tensor_content=array.dtype != object)
    for name, array in record.outputs.items():
        encode_tensor(array, response.outputs[name], tensor_content=array.dtype != object)
    return log.SerializeToString()


def from_prediction_log(content: bytes) -> Record | None:
    """The record in a serialized PredictionLog, or None where it is no Predict.

    Raises:
        DecodeError: It is no PredictionLog.
        ServingError: A tensor in it can't be read.
    """
    from serving.grpc.tensors import decode_tensor
    from serving.protos import prediction_log_pb2
    from serving.protos.convert import model_spec_from_proto

    log = prediction_log_pb2.PredictionLog.FromString(content)
    if log.WhichOneof("log_type") != "predict_log":
        return None
    request, response = log.predict_log.request, log.predict_log.response
    return Record(
        model_spec_from_proto(request.model_spec),
        {name: decode_tensor(tensor, name) for name, tensor in request.inputs.items()},
        {name: decode_tensor(tensor, name) for name, tensor in response.outputs.items()},
        time_s=float(log.log_metadata.timestamp_secs),
        entrypoint=log.log_metadata.request_origin,
        sampling_rate=log.log_metadata.sampling_config.sampling_rate or 1.0,
    )


def utc_text(time_s: float) -> str:
    """A time in ISO 8601, UTC, to the microsecond."""
    return datetime.fromtimestamp(time_s, UTC).isoformat(timespec="microseconds")
