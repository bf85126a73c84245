"""Warm-up: what a version runs once before it is served, as TensorFlow Serving does.

A version's folder may hold requests, `assets.extra/tf_serving_warmup_requests`, a TFRecord of PredictionLog: bundles
do, a request log can be copied there (`whyserve log LOG --to warmup`), and TensorFlow Serving's own tools write it.
"""

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from serving.checks import check_finite, check_inputs, check_targets, choose_outputs
from serving.engines.base import LoadedModel
from serving.engines.bundle import WARMUP_FILE
from serving.errors import Code, ServingError, invalid_argument
from serving.metrics import Metrics
from serving.tfrecord import read_records
from serving.types import DEFAULT_SIGNATURE, EXPLAIN_TARGET_SIGNATURE

MAX_RECORDS = 1000

Arrays = Mapping[str, np.ndarray]
Run = Callable[[str, Arrays, tuple[str, ...]], None]
Request = tuple[str, Arrays, tuple[str, ...]]


@dataclass(frozen=True)
class WarmUpOptions:
    """Whether and how versions are warmed up.

    Attributes:
        enabled: False: not at all.
        num_iterations: How often each record is run; 0: once.
    """

    enabled: bool = True
    num_iterations: int = 0


def replay_warmup(
    folder: Path, model: LoadedModel, run: Run, *, options: WarmUpOptions, refuse_non_finite: bool, metrics: Metrics
) -> set[str]:
    """Runs a version's warm-up records; blocks.

    The model's name, version and label in a record are not looked at, as in TensorFlow Serving.

    Args:
        folder: The version's folder.
        model: What was loaded from it.
        run: Runs a signature on checked inputs for the outputs named.
        options: How.
        refuse_non_finite: Whether requests with NaN or infinity are refused.
        metrics: Where the replay is counted.

    Returns:
        The signatures that ran.

    Raises:
        ServingError: A record can't be read, or fails; then the version must not be served.
    """
    path = folder / WARMUP_FILE
    if not path.is_file():
        return set()
    started, num_records, ran = time.perf_counter(), 0, set()
    code = Code.OK
    try:
        for number, content in enumerate(_read(path), start=1):
            if number > MAX_RECORDS:
                raise invalid_argument(f"Number of warmup records exceeds the maximum ({MAX_RECORDS}) at {path}")
            num_records = number
            with _record(path, number):
                for name, inputs, output_filter in _requests(content, model):
                    checked = _check(model, name, inputs, refuse_non_finite=refuse_non_finite)
                    outputs = choose_outputs(model.signatures[name], output_filter)
                    for _ in range(max(1, options.num_iterations)):
                        run(name, checked, outputs)
                    ran.add(name)
    except ServingError as error:
        code = error.code
        raise
    finally:
        metrics.tensorflow.observe_warmup(
            str(folder), code, num_records=num_records, seconds=time.perf_counter() - started
        )
    return ran


class _record:  # noqa: N801 -- reads as a statement
    """Says of a failure which record it was."""

    def __init__(self, path: Path, number: int) -> None:
        self._path = path
        self._number = number

    def __enter__(self) -> None:
        pass

    def __exit__(self, _kind: object, error: BaseException | None, _traceback: object) -> None:
        if isinstance(error, ServingError):
            message = f"Warm-up record {self._number} of {self._path} failed: {error.message}"
            raise ServingError(error.code, message) from error


def _read(path: Path) -> Iterator[bytes]:
    try:
        yield from read_records(path)
    except ServingError as error:
        raise ServingError(
            error.code, f"{error.message} Please verify your warmup data is in TFRecord format."
        ) from error
    except OSError as error:
        raise ServingError(Code.UNAVAILABLE, f"{path} must be readable. Received: {error.strerror}.") from error


def _requests(content: bytes, model: LoadedModel) -> Iterator[Request]:
    """Signature, inputs and output filter of what a PredictionLog holds: one, or of a MultiInference each task."""
    from google.protobuf.message import DecodeError

    from serving.protos import prediction_log_pb2

    try:
        log = prediction_log_pb2.PredictionLog.FromString(content)
    except DecodeError as error:
        raise invalid_argument(f"Failed to parse warmup record of {len(content)} bytes: {error}") from error
    kind = log.WhichOneof("log_type")
    if kind == "predict_log":
        yield _predict(log.predict_log.request, model)
    elif kind in ("classify_log", "regress_log"):
        request: Any = getattr(log, kind).request
        yield _infer(request.model_spec, request.input, kind.removesuffix("_log").upper(), model)
    elif kind == "multi_inference_log":
        request = log.multi_inference_log.request
        for task in request.tasks:
            yield _infer(task.model_spec, request.input, task.method_name.rpartition("/")[2].upper(), model)
    else:
        raise ServingError(Code.UNIMPLEMENTED, f"Unsupported log_type for warmup: {kind or 'none'}")


def _predict(request: Any, model: LoadedModel) -> Request:
    from serving.grpc.tensors import decode_tensor

    inputs = {name: decode_tensor(tensor, name) for name, tensor in request.inputs.items()}
    return _known(request.model_spec, model), inputs, tuple(request.output_filter)


def _infer(spec: Any, message: Any, method: str, model: LoadedModel) -> Request:
    """Classify or Regress, as the inputs of its signature."""
    from serving.grpc.inference import read_input
    from serving.tasks import Method, make_task

    if method not in Method.__members__:
        raise ServingError(Code.UNIMPLEMENTED, f"Unsupported signature method_name: {method}")
    name = _known(spec, model)
    task = make_task(name, model.signatures[name], Method[method])
    return name, task.inputs(read_input(message)), task.output_names


def _known(spec: Any, model: LoadedModel) -> str:
    name = spec.signature_name or DEFAULT_SIGNATURE
    if name not in model.signatures:
        raise ServingError(Code.FAILED_PRECONDITION, f'Serving signature key "{name}" not found.')
    return name


def _check(model: LoadedModel, name: str, inputs: Arrays, *, refuse_non_finite: bool) -> dict[str, np.ndarray]:
    checked = check_inputs(model.signatures[name], inputs)
    if refuse_non_finite:
        check_finite(checked)
    if name == EXPLAIN_TARGET_SIGNATURE and model.explanation is not None:
        check_targets(checked, model.explanation)
    return checked
