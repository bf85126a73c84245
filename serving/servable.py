"""A model version that answers requests: the loaded model behind its two queues."""

import asyncio
import contextlib
import functools
import hashlib
import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from export.manifest import MANIFEST_FILE
from serving.batch import Arrays, Call
from serving.batching import BatchLimits, BatchQueue, BatchReport
from serving.engines.base import GraphModel, LoadedModel
from serving.errors import ServingError
from serving.joint import JointModel, join_inputs, join_signatures
from serving.metrics import Metrics
from serving.types import EXPLAIN_SIGNATURE, EXPLAIN_TARGET_SIGNATURE, ModelSpec, Signature, TensorInfo
from serving.warmup import WarmUpOptions, replay_warmup

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
        warm_up: What runs before a version is served.
        observe_batch: Told of every batch, with model and version; None: nobody.
    """

    predict_threads: Executor
    explain_threads: Executor
    predict: BatchLimits = field(default_factory=BatchLimits)
    explain: BatchLimits = field(default_factory=BatchLimits)
    batching: bool | None = None
    refuse_non_finite: bool | None = None
    warm_up: WarmUpOptions = field(default_factory=WarmUpOptions)
    observe_batch: Callable[[str, int, BatchReport], None] | None = None


class Servable:
    """One version of one model, ready to answer.

    All methods but `warm_up` and `close` belong to the event loop's thread.

    Args:
        name: The model's name.
        version: The version.
        model: What the engine loaded.
        options: How to run it.
        metrics: Where batches are counted.

    Attributes:
        specs: What answers, by signature; made once, for every request needs it.
        manifest_digest: SHA-256 of the bundle's manifest, in hexadecimal digits; empty where there is none.
    """

    def __init__(
        self, name: str, version: int, model: LoadedModel, options: ExecutionOptions, metrics: Metrics
    ) -> None:
        self.name = name
        self.version = version
        self.model = model
        self.specs = {signature: ModelSpec(name, version, None, signature) for signature in model.signatures}
        self.manifest_digest = ""
        self._options = options
        self.refuses_non_finite = (
            model.refuses_non_finite if options.refuse_non_finite is None else options.refuse_non_finite
        )
        self._batchable = model.batchable if options.batching is None else options.batching
        self._metrics = metrics
        self._calls: dict[tuple[str, tuple[str, ...]], Call] = {}
        self._joint_calls: dict[tuple[tuple[str, ...], tuple[str, ...]], Call] = {}
        self._in_flight = 0
        self._held = 0
        self._idle: asyncio.Future[None] | None = None
        self._queues = {
            "predict": self._queue("predict", options.predict, options.predict_threads),
            "explain": self._queue("explain", options.explain, options.explain_threads),
        }
        metrics.watch_in_flight(name, version, lambda: self._in_flight)

    async def run(
        self, signature_name: str, inputs: Arrays, output_names: Sequence[str], *, deadline: float | None = None
    ) -> dict[str, np.ndarray]:
        """Answers a request whose inputs were checked; `deadline` is in the event loop's time.

        Raises:
            ServingError: What the queue or the model answers.
        """
        call = self._call(signature_name, tuple(output_names))
        outputs = await self._submit(call, inputs, deadline, explain=signature_name in EXPLAIN_SIGNATURES)
        return outputs if len(outputs) == len(output_names) else {name: outputs[name] for name in output_names}

    async def run_together(
        self,
        inputs: Mapping[str, Arrays],
        output_names: Mapping[str, Sequence[str]],
        *,
        deadline: float | None = None,
    ) -> dict[str, dict[str, np.ndarray]]:
        """Answers several signatures, in one run of the engine where it can.

        Args:
            inputs: The checked inputs of each signature.
            output_names: The outputs wanted of each.
            deadline: In the event loop's time.

        Raises:
            ServingError: What the queue or the model answers.
        """
        signatures = {name: self.model.signatures[name] for name in sorted(inputs)}
        feeds = join_inputs(signatures, inputs)
        tensors = {
            name: [signatures[name].outputs[output].tensor_name for output in outputs]
            for name, outputs in output_names.items()
        }
        call = self._joint_call(signatures, tuple(sorted({each for every in tensors.values() for each in every})))
        if feeds is None or call is None:
            return await self._run_each(inputs, output_names, deadline)
        explain = not EXPLAIN_SIGNATURES.isdisjoint(signatures)
        values = await self._submit(call, feeds, deadline, explain=explain)
        return {
            name: {output: values[tensor] for output, tensor in zip(output_names[name], tensors[name], strict=True)}
            for name in inputs
        }

    @contextlib.contextmanager
    def hold(self) -> Iterator[None]:
        """Keeps the version from being let go, for a request that needs more than one run."""
        self._held += 1
        try:
            yield
        finally:
            self._held -= 1
            self._tell_idle()

    async def drain(self) -> None:
        """Waits until no request is in flight; none may be added meanwhile but by those that hold the version."""
        if self._in_flight or self._held:
            self._idle = asyncio.get_running_loop().create_future()
            await self._idle
        for queue in self._queues.values():
            await queue.join()

    def warm_up(self, folder: Path) -> None:
        """Runs what the first requests would pay for; blocks.

        The warm-up records in the version's folder are run where there are any. Signatures that they leave out are run
        on zeros, where runs are known to have no effect on one another. A model that doesn't take zeros is none the
        worse for it: the failure is logged only.

        Raises:
            ServingError: A warm-up record can't be read, or failed.
        """
        manifest = folder / MANIFEST_FILE
        if self.model.explanation is not None and manifest.is_file():
            self.manifest_digest = hashlib.sha256(manifest.read_bytes()).hexdigest()
        options = self._options.warm_up
        if not options.enabled:
            return
        ran = replay_warmup(
            folder,
            self.model,
            lambda name, inputs, outputs: _run_timed(self._call(name, outputs), inputs),
            options=options,
            refuse_non_finite=self.refuses_non_finite,
            metrics=self._metrics,
        )
        if self.model.batchable:
            self._run_on_zeros({name: each for name, each in self.model.signatures.items() if name not in ran})

    def _run_on_zeros(self, signatures: Mapping[str, Signature]) -> None:
        for name, signature in signatures.items():
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
        self._queues = {}  # they hold on to this object: it would live until the collector finds the cycle
        self._calls.clear()
        self._joint_calls.clear()
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

    async def _run_each(
        self, inputs: Mapping[str, Arrays], output_names: Mapping[str, Sequence[str]], deadline: float | None
    ) -> dict[str, dict[str, np.ndarray]]:
        """The outputs of each signature; when one fails, the others leave their queue."""
        runs = {
            name: asyncio.ensure_future(self.run(name, arrays, output_names[name], deadline=deadline))
            for name, arrays in inputs.items()
        }
        try:
            return dict(zip(runs, await asyncio.gather(*runs.values()), strict=True))
        finally:
            for run in runs.values():
                run.cancel()

    def _joint_call(self, signatures: Mapping[str, Signature], fetches: tuple[str, ...]) -> Call | None:
        """The call that runs several signatures at once, or None where the engine can't or too many are kept apart."""
        if not isinstance(self.model, GraphModel):
            return None
        key = (tuple(signatures), fetches)
        call = self._joint_calls.get(key)
        if call is None and len(self._joint_calls) < _MOST_CALLS:
            joint = join_signatures(signatures)
            call = Call(JointModel(self.model), " + ".join(signatures), joint, fetches, batchable=self._batchable)
            self._joint_calls[key] = call
        return call

    async def _submit(
        self, call: Call, inputs: Arrays, deadline: float | None, *, explain: bool
    ) -> dict[str, np.ndarray]:
        self._in_flight += 1
        try:
            return await self._queues["explain" if explain else "predict"].submit(call, inputs, deadline=deadline)
        finally:
            self._in_flight -= 1
            self._tell_idle()

    def _tell_idle(self) -> None:
        if self._idle is not None and not (self._in_flight or self._held or self._idle.done()):
            self._idle.set_result(None)

    def _queue(self, kind: str, limits: BatchLimits, threads: Executor) -> BatchQueue:
        what = "explanations" if kind == "explain" else "predictions"
        queue = BatchQueue(
            f"{what} of {self}", limits=limits, executor=threads, observe=functools.partial(self._observe, kind)
        )
        self._metrics.watch_queue(self.name, self.version, kind, queue.__len__)
        return queue

    def _observe(self, queue: str, report: BatchReport) -> None:
        self._metrics.observe_batch(
            self.name,
            self.version,
            report.signature_name,
            rows=report.rows,
            run_s=report.run_s,
            waits_s=report.waits_s,
        )
        self._metrics.tensorflow.observe_batch(
            self.name,
            queue,
            apis=["" if request is None else request.api for request in report.requests],
            sizes=report.sizes,
            executed_rows=report.executed_rows,
            run_s=report.run_s,
            waits_s=report.waits_s,
        )
        if self._options.observe_batch is not None:
            self._options.observe_batch(self.name, self.version, report)


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
