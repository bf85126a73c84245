"""`BatchingParameters`: how requests are joined, in TensorFlow Serving's form."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from serving.batching import BatchLimits
from serving.config.text_proto import read_text_proto
from serving.errors import invalid_argument
from serving.protos import session_bundle_config_pb2

_DEFAULT_MAX_BATCH_SIZE = 1000
_DEFAULT_MAX_ENQUEUED_BATCHES = 10
_MICROSECONDS = 1e6


@dataclass(frozen=True)
class BatchingParameters:
    """The file's parameters, with TensorFlow Serving's defaults for those that it leaves out.

    Attributes:
        max_batch_size: Rows of the largest request.
        batch_timeout_micros: Microseconds that the first request of a batch waits for others.
        max_enqueued_batches: Length of the queue, in batches of `max_batch_size` rows.
        num_batch_threads: Threads that run batches, of all models together; 0: one for each processor.
        thread_pool_name: What these threads are called.
        allowed_batch_sizes: Batches are filled up to one of these sizes, in ascending order; empty: not at all.
        pad_variable_length_inputs: Whether requests of different lengths are padded to be joined.
        max_execution_batch_size: Rows of a batch.
    """

    max_batch_size: int = _DEFAULT_MAX_BATCH_SIZE
    batch_timeout_micros: int = 0
    max_enqueued_batches: int = _DEFAULT_MAX_ENQUEUED_BATCHES
    num_batch_threads: int = 0
    thread_pool_name: str = ""
    allowed_batch_sizes: tuple[int, ...] = ()
    pad_variable_length_inputs: bool = False
    max_execution_batch_size: int = _DEFAULT_MAX_BATCH_SIZE

    def limits(self) -> BatchLimits:
        """The bounds of a queue."""
        queued = self.max_enqueued_batches * self.max_batch_size
        return BatchLimits(
            max_batch_size=self.max_execution_batch_size,
            max_wait_s=self.batch_timeout_micros / _MICROSECONDS,
            max_queued_requests=queued,
            max_queued_rows=queued,
            max_request_rows=self.max_batch_size,
            allowed_batch_sizes=self.allowed_batch_sizes,
            pad_variable_length_inputs=self.pad_variable_length_inputs,
        )


def read_batching_parameters(path: Path) -> BatchingParameters:
    """Reads a file given to `--batching_parameters_file`, or a version's own.

    Raises:
        ServingError: The file can't be read, is no BatchingParameters, or contradicts itself.
    """
    message = read_text_proto(path, session_bundle_config_pb2.BatchingParameters())
    max_batch_size = _value(message, "max_batch_size", _DEFAULT_MAX_BATCH_SIZE, least=1)
    splits = message.enable_large_batch_splitting.value
    parameters = BatchingParameters(
        max_batch_size=max_batch_size,
        batch_timeout_micros=_value(message, "batch_timeout_micros", 0, least=0),
        max_enqueued_batches=_value(message, "max_enqueued_batches", _DEFAULT_MAX_ENQUEUED_BATCHES, least=1),
        num_batch_threads=_value(message, "num_batch_threads", 0, least=1),
        thread_pool_name=message.thread_pool_name.value,
        allowed_batch_sizes=tuple(message.allowed_batch_sizes),
        pad_variable_length_inputs=message.pad_variable_length_inputs,
        max_execution_batch_size=_value(message, "max_execution_batch_size", max_batch_size, least=1)
        if splits
        else max_batch_size,
    )
    _check(parameters)
    return parameters


def _value(message: Any, name: str, default: int, *, least: int) -> int:
    if not message.HasField(name):
        return default
    value: int = getattr(message, name).value
    if value < least:
        raise invalid_argument(f"`{name}` must be at least {least}. Received: {name} {{ value: {value} }}.")
    return value


def _check(parameters: BatchingParameters) -> None:
    sizes, largest = parameters.allowed_batch_sizes, parameters.max_execution_batch_size
    if largest > parameters.max_batch_size:
        raise invalid_argument(
            f"`max_execution_batch_size` must be at most `max_batch_size`. Received: {largest} and "
            f"{parameters.max_batch_size}."
        )
    if any(size <= 0 for size in sizes) or list(sizes) != sorted(set(sizes)):
        raise invalid_argument(f"allowed_batch_sizes entries must be monotonically increasing; received {list(sizes)}")
    if sizes and sizes[-1] != largest:
        raise invalid_argument(
            f"Last entry in allowed_batch_sizes must match max_batch_size; last entry was {sizes[-1]}; expected "
            f"{largest}"
        )
