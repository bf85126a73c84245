"""A model version that answers requests: the loaded model behind its two queues."""

import asyncio
import logging
import time
from collections.abc import Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field

import numpy as np

from serving.batch import Arrays, Call
from serving.batching import BatchLimits, BatchQueue, BatchReport
from serving.engines.base import LoadedModel
from serving.errors import ServingError
from serving.metrics import Metrics
from serving.types import EXPLAIN_SIGNATURE, EXPLAIN_TARGET_SIGNATURE, TensorInfo

logger = logging.getLogger(__name__)

EXPLAIN_SIGNATURES = frozenset({EXPLAIN_SIGNATURE, EXPLAIN_TARGET_SIGNATURE})
_MOST_CALLS = 64
"""Sets of outputs kept apart for one signature; clients that ask for still others get theirs from all outputs."""
_WARM_UP_RUNS = 3


@dataclass(frozen=True)
class ExecutionOptions:
    """How servables run.

    Attributes:
        predict: Bounds of the queue for predictions.
        explain: Bounds of the queue for explanations, which cost more and must not starve predictions.
        predict_threads: Where predictions that take long run.
        explain_threads: Where explanations that take long run.
        batching: True joins requests for every model, False for none, None where the model is known to allow it.
        refuse_non_finite: Overrides the model's own `refuses_non_finite`, unless None.
    """

    predict_threads: Executor
    explain_threads: Executor
    predict: BatchLimits = field(default_factory=BatchLimits)
    explain: BatchLimits = field(default_factory=BatchLimits)
    batching: bool | None = None
    refuse_non_finite: bool | None = None


class Servable:
    """One version of one model, ready to answer.

    All methods but `warm_up` and `close` belong to the event loop's thread.

    Args:
        name: The model's name.
        version: The version.
        model: What the engine loaded.
        options: How to run it.
        metrics: Where batches are counted.
    """

    def __init__(
        self, name: str, version: int, model: LoadedModel, options: ExecutionOptions, metrics: Metrics
    ) -> None:
        self.name = name
        self.version = version
        self.model = model
        self.refuses_non_finite = (
            model.refuses_non_finite if options.refuse_non_finite is None else options.refuse_non_finite
        )
        self._batchable = model.batchable if options.batching is None else options.batching
        self._metrics = metrics
        self._calls: dict[tuple[str, tuple[str, ...]], Call] = {}
        self._in_flight = 0
        self._idle: asyncio.Future[None] | None = None
        self._queues = {
            "predict": self._queue("predict", options.predict, options.predict_threads),
            "explain": self._queue("explain", options.explain, options.explain_threads),
        }

    async def run(
        self, signature_name: str, inputs: Arrays, output_names: Sequence[str], *, deadline: float | None = None
    ) -> dict[str, np.ndarray]:
        """Answers a request whose inputs were checked; `deadline` is in the event loop's time.

        Raises:
            ServingError: What the queue or the model answers.
        """
        call = self._call(signature_name, tuple(output_names))
        queue = self._queues["explain" if signature_name in EXPLAIN_SIGNATURES else "predict"]
        self._in_flight += 1
        try:
            outputs = await queue.submit(call, inputs, deadline=deadline)
        finally:
            self._in_flight -= 1
            if self._idle is not None and self._in_flight == 0 and not self._idle.done():
                self._idle.set_result(None)
        return outputs if len(outputs) == len(output_names) else {name: outputs[name] for name in output_names}

    async def drain(self) -> None:
        """Waits until no request is in flight; none may be added meanwhile."""
        if self._in_flight:
            self._idle = asyncio.get_running_loop().create_future()
            await self._idle
        for queue in self._queues.values():
            await queue.join()

    def warm_up(self) -> None:
        """Runs every signature on zeros, so that the first request doesn't pay for allocations; blocks.

        Only where runs are known to have no effect on one another. A model that doesn't take zeros is none the worse
        for it: the failure is logged only.
        """
        if not self.model.batchable:
            return
        for name, signature in self.model.signatures.items():
            inputs = {key: _zeros(tensor) for key, tensor in signature.inputs.items()}
            call = self._call(name, tuple(signature.outputs))
            try:
                for _ in range(_WARM_UP_RUNS):
                    _run_timed(call, inputs)
            except ServingError as error:
                logger.info("Signature %r of %s was not warmed up on zeros: %s", name, self, error.message)

    def close(self) -> None:
        """Lets go of the model; blocks."""
        self._metrics.remove_version(self.name, self.version, self._queues)
        self._calls.clear()
        self.model.close()

    def __str__(self) -> str:
        return f"model {self.name!r} version {self.version}"

    def _call(self, signature_name: str, output_names: tuple[str, ...]) -> Call:
        key = (signature_name, output_names)
        call = self._calls.get(key)
        if call is None:
            signature = self.model.signatures[signature_name]
            every = tuple(signature.outputs)
            if len(self._calls) >= _MOST_CALLS and output_names != every:
                return self._call(signature_name, every)
            call = Call(self.model, signature_name, signature, output_names, batchable=self._batchable)
            self._calls[key] = call
        return call

    def _queue(self, kind: str, limits: BatchLimits, threads: Executor) -> BatchQueue:
        what = "explanations" if kind == "explain" else "predictions"
        queue = BatchQueue(f"{what} of {self}", limits=limits, executor=threads, observe=self._observe)
        self._metrics.watch_queue(self.name, self.version, kind, queue.__len__)
        return queue

    def _observe(self, report: BatchReport) -> None:
        self._metrics.observe_batch(
            self.name,
            self.version,
            report.signature_name,
            rows=report.rows,
            run_s=report.run_s,
            waits_s=report.waits_s,
        )


def _zeros(tensor: TensorInfo) -> np.ndarray:
    """Zeros (or empty strings) of a tensor's shape, with 1 for every dimension that is dynamic."""
    array = np.zeros([size or 1 for size in tensor.shape or ()], tensor.dtype)
    if tensor.dtype == object:
        array.fill(b"")
    return array


def _run_timed(call: Call, inputs: Arrays) -> None:
    started = time.perf_counter()
    call.run(inputs)
    call.run_time.observe(sum(array.size for array in inputs.values()), time.perf_counter() - started)
