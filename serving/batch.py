"""What one batch is: requests joined on their first dimension, run as one, and the outputs divided among them again."""

import logging
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from serving.errors import Code, ServingError
from serving.run_time import RunTime
from serving.types import Signature

logger = logging.getLogger(__name__)

# A long request beside one of many rows may take many times the memory of both: such run one by one.
MAX_PADDED_BYTES = 256 << 20

Arrays = Mapping[str, np.ndarray]
Outcome = dict[str, np.ndarray] | ServingError


class Work(Protocol):
    """One request as a batch sees it.

    Attributes:
        inputs: Its arrays by name.
        rows: How many examples it holds, or None where that can't be told: then it is run as it is.
    """

    inputs: Arrays
    rows: int | None

    def abandoned(self) -> bool:
        """Whether nobody waits for the answer any more."""


class Runner(Protocol):
    """What a call needs of a model; see `serving.engines.base.LoadedModel.run`."""

    def run(self, signature_name: str, inputs: Arrays, output_names: Sequence[str], /) -> dict[str, np.ndarray]:
        """Runs one signature; blocks."""


@dataclass(frozen=True)
class Run:
    """What came of a batch.

    Attributes:
        outcomes: Outputs or an error for each request, in their order.
        seconds: How long the engine ran.
        divisible: Whether the outputs had the rows of the inputs; if not, such requests must not be joined again.
    """

    outcomes: list[Outcome]
    seconds: float
    divisible: bool = True


class Call:
    """A signature of a model with the outputs to compute: what requests must share to be joined.

    Args:
        model: The model to run.
        signature_name: The signature's name.
        signature: The signature itself.
        output_names: The outputs to compute.
        batchable: Whether the rows of a batch don't influence each other.

    Attributes:
        joins: Whether requests may be run as one batch and large ones in pieces: the model's rows don't influence each
            other, and a dynamic first dimension is declared for every input and every output asked for. Set to False
            for good when outputs turn out not to have the rows of the inputs.
        run_time: What was learned of how long it takes.
    """

    def __init__(
        self,
        model: Runner,
        signature_name: str,
        signature: Signature,
        output_names: tuple[str, ...],
        *,
        batchable: bool,
    ) -> None:
        self.model = model
        self.signature_name = signature_name
        self.output_names = output_names
        self.run_time = RunTime()
        tensors = [*signature.inputs.values(), *(signature.outputs[name] for name in output_names)]
        dynamic = bool(signature.inputs) and all(tensor.shape and tensor.shape[0] is None for tensor in tensors)
        self.joins = batchable and dynamic

    def run(self, inputs: Arrays) -> dict[str, np.ndarray]:
        """Runs the model; whatever goes wrong comes out as a ServingError."""
        try:
            return self.model.run(self.signature_name, inputs, self.output_names)
        except ServingError:
            raise
        except Exception as error:  # the boundary to the engine: one model's fault must not stop the queue of others
            logger.exception("Signature %r failed in a way that the engine doesn't know", self.signature_name)
            raise ServingError(Code.INTERNAL, f"{type(error).__name__}: {error}") from error


def count_rows(inputs: Arrays) -> int | None:
    """The first dimension that all inputs share, or None where one is a scalar or they differ."""
    rows = -1
    for array in inputs.values():
        if array.ndim == 0 or (rows >= 0 and array.shape[0] != rows):
            return None
        rows = array.shape[0]
    return None if rows < 0 else rows


def run_batch(
    call: Call, requests: Sequence[Work], *, max_rows: int, sizes: Sequence[int] = (), pads: bool = False
) -> Run:
    """Runs requests as one batch and divides the outputs; blocks, usually in a thread of its own.

    If the batch fails, or its outputs can't be divided, its requests are run one by one, so that one bad request fails
    alone and no answer holds another request's rows. A request of more than `max_rows` rows is run in pieces.

    Args:
        call: What to run.
        requests: At least one; if several, each with `rows` set and the same inner shapes (where `pads`: rank).
        max_rows: The largest number of rows to run at once.
        sizes: Batches are filled up to the next of these numbers of rows, in ascending order, and the outputs cut back.
        pads: Whether requests of different inner shapes are padded to the largest, each with its own first element, as
            TensorFlow Serving pads.
    """
    started = time.perf_counter()
    try:
        if len(requests) == 1:
            outcomes, divisible = _run_single(call, requests[0], max_rows, sizes)
        else:
            outcomes, divisible = _run_joined(call, requests, max_rows, sizes, pads=pads)
    except Exception as error:  # the same boundary, for joining and dividing: memory, above all
        logger.exception("A batch of %d requests could not be handled", len(requests))
        failure = ServingError(Code.INTERNAL, f"{type(error).__name__}: {error}")
        outcomes, divisible = [failure] * len(requests), True
    return Run(outcomes, time.perf_counter() - started, divisible)


def _run_joined(
    call: Call, requests: Sequence[Work], max_rows: int, sizes: Sequence[int], *, pads: bool
) -> tuple[list[Outcome], bool]:
    if pads and _padded_bytes(requests) > MAX_PADDED_BYTES:
        return [_run_single(call, each, max_rows, sizes)[0][0] for each in requests], True
    join = _join_padded if pads else np.concatenate
    divisible = True
    try:
        rows = [each.rows or 0 for each in requests]
        joined = {name: join([each.inputs[name] for each in requests]) for name in requests[0].inputs}
        outputs = _run_filled(call, joined, sizes, rows=sum(rows), repeated=sum(rows[:-1]))
        parts = None if outputs is None else _divide(outputs, rows)
        if parts is not None:
            return list(parts), True
        divisible = False
    except ServingError as error:
        logger.debug("A batch of %d requests failed and is run one by one: %s", len(requests), error.message)
    return [_run_single(call, each, max_rows, sizes)[0][0] for each in requests], divisible


def _padded_bytes(requests: Sequence[Work]) -> int:
    """How much the inputs of all requests take once they are padded."""
    total = 0
    for name in requests[0].inputs:
        arrays = [each.inputs[name] for each in requests]
        rows = sum(array.shape[0] for array in arrays)
        total += rows * math.prod(_inner_dims(arrays)) * arrays[0].dtype.itemsize
    return total


def _inner_dims(arrays: Sequence[np.ndarray]) -> tuple[int, ...]:
    """The largest inner dimensions."""
    return tuple(map(max, zip(*[array.shape[1:] for array in arrays], strict=True)))


def _join_padded(arrays: Sequence[np.ndarray]) -> np.ndarray:
    """The arrays in one, along their first dimension, once their inner dimensions are the same."""
    inner = _inner_dims(arrays)
    return np.concatenate([_pad(array, inner) for array in arrays])


def _pad(array: np.ndarray, inner: tuple[int, ...]) -> np.ndarray:
    """The array with the inner dimensions asked for, its own first element in what is new."""
    if array.shape[1:] == inner:
        return array
    padded = np.full((array.shape[0], *inner), array.flat[0], array.dtype)
    padded[tuple(slice(size) for size in array.shape)] = array
    return padded


def _run_single(call: Call, request: Work, max_rows: int, sizes: Sequence[int]) -> tuple[list[Outcome], bool]:
    if request.abandoned():
        return [ServingError(Code.CANCELLED, "The request was cancelled before it ran.")], True
    try:
        if not call.joins or request.rows is None:
            return [call.run(request.inputs)], True
        if request.rows <= max_rows:
            outputs = _run_filled(call, request.inputs, sizes, rows=request.rows, repeated=0)
        else:
            outputs = _run_in_pieces(call, request, request.rows, max_rows, sizes)
        return [call.run(request.inputs) if outputs is None else outputs], outputs is not None
    except ServingError as error:
        return [error], True


def _run_filled(
    call: Call, inputs: Arrays, sizes: Sequence[int], *, rows: int, repeated: int
) -> dict[str, np.ndarray] | None:
    """The outputs of a batch that is filled up to the next allowed size by repeating one of its rows.

    Returns:
        The outputs of the batch alone, or None where those of the filled one don't have its rows.
    """
    missing = next((size for size in sizes if size >= rows), rows) - rows
    if missing == 0 or rows == 0:
        return call.run(inputs)
    outputs = call.run(
        {
            name: np.concatenate([array, np.repeat(array[repeated : repeated + 1], missing, axis=0)])
            for name, array in inputs.items()
        }
    )
    parts = _divide(outputs, [rows, missing])
    return None if parts is None else parts[0]


def _run_in_pieces(
    call: Call, request: Work, rows: int, max_rows: int, sizes: Sequence[int]
) -> dict[str, np.ndarray] | None:
    """The outputs of a large request, or None where they don't have the rows of the inputs."""
    pieces: list[dict[str, np.ndarray]] = []
    for start in range(0, rows, max_rows):
        if request.abandoned():
            raise ServingError(Code.CANCELLED, "The request was cancelled while it ran.")
        size = min(max_rows, rows - start)
        part = {name: array[start : start + size] for name, array in request.inputs.items()}
        outputs = _run_filled(call, part, sizes, rows=size, repeated=0)
        if outputs is None or _divide(outputs, [size]) is None:
            return None
        pieces.append(outputs)
    if any(len({piece[name].shape[1:] for piece in pieces}) > 1 for name in call.output_names):
        return None
    return {name: np.concatenate([piece[name] for piece in pieces]) for name in call.output_names}


def _divide(outputs: Arrays, rows: Sequence[int]) -> list[dict[str, np.ndarray]] | None:
    """Each request's rows of every output, or None where an output's first dimension is not the sum of the rows."""
    total = sum(rows)
    if any(array.ndim == 0 or array.shape[0] != total for array in outputs.values()):
        return None
    parts = []
    start = 0
    for size in rows:
        parts.append({name: array[start : start + size] for name, array in outputs.items()})
        start += size
    return parts
