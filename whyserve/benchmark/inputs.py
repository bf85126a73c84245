"""Real inputs for the measurements: the requests that a bundle carries for warm-up."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from serving.engines.bundle import WARMUP_FILE
from serving.grpc.tensors import decode_tensor
from serving.protos.prediction_log_pb2 import PredictionLog
from serving.tfrecord import read_records
from serving.types import DEFAULT_SIGNATURE
from whyserve.errors import CommandError


def real_inputs(bundle: Path) -> dict[str, np.ndarray]:
    """The examples of a bundle's warm-up requests. Read without TensorFlow; whoever loads the bundle checks the digest.

    Where the model leaves sizes open the requests differ in them: the examples are those of the first one's sizes.

    Args:
        bundle: A version's folder.

    Returns:
        Arrays by input name, batch first.

    Raises:
        CommandError: There are none.
    """
    path = bundle / WARMUP_FILE
    records = read_records(path) if path.is_file() else ()
    requests = [PredictionLog.FromString(content).predict_log.request for content in records]
    wanted = [request for request in requests if request.model_spec.signature_name in ("", DEFAULT_SIGNATURE)]
    if not wanted:
        raise CommandError(f"Expected warm-up requests for {DEFAULT_SIGNATURE} in {path}. Received: none")
    examples = [{name: decode_tensor(proto, name) for name, proto in request.inputs.items()} for request in wanted]
    alike = [each for each in examples if _shape(each) == _shape(examples[0])]
    return {name: np.concatenate([each[name] for each in alike]) for name in examples[0]}


def _shape(example: Mapping[str, np.ndarray]) -> dict[str, tuple[int, ...]]:
    return {name: array.shape[1:] for name, array in example.items()}


def rows_of(sample: Mapping[str, np.ndarray], batch: int) -> dict[str, np.ndarray]:
    """A batch of any size out of the examples, repeated where there are too few."""
    return {name: np.ascontiguousarray(np.resize(array, (batch, *array.shape[1:]))) for name, array in sample.items()}
