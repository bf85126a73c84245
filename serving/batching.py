"""Dynamic batching: requests that wait at the same time for the same thing are answered by one run of the engine.

There is no timer by default. A queue is looked at when the event loop has handled what had arrived, and again whenever
the engine becomes free: whatever is complete then runs as one batch. Under light load a request therefore waits for
nobody, and under heavy load the batches grow by themselves.
"""

import asyncio
import functools
import math
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass

import numpy as np

from serving.batch import Arrays, Call, Run, count_rows, run_batch
from serving.errors import Code, ServingError, invalid_argument
from serving.request_context import CURRENT, RequestContext

INLINE_LIMIT_S = 0.002
"""A batch expected to take less runs on the event loop: a thread would cost more than it saves, and nobody waits
longer than this for the loop. Measured: a worker thread costs 15 to 36 % of the throughput of a model of 0.15 ms."""


@dataclass(frozen=True)
class BatchLimits:
    """Bounds of one queue.

    Attributes:
        max_batch_size: Rows of a batch; a larger request runs alone, in pieces.
        max_request_rows: Rows of a request; a larger one is refused. None: no bound.
        max_wait_s: How long the oldest request may wait for others while the engine is free, in seconds.
        max_queued_requests: Requests that wait; one more is refused at once.
        max_queued_rows: Rows of the requests that wait; one more is refused at once. None: no bound.
        allowed_batch_sizes: Batches are filled up to the next of these sizes, in ascending order; empty: not at all.
        pad_variable_length_inputs: Whether requests whose inner dimensions differ are padded to be joined.
        inline_limit_s: Batches expected to take less than this, in seconds, run on the event loop.
    """

    max_batch_size: int = 64
    max_wait_s: float = 0.0
    max_queued_requests: int = 1024
    inline_limit_s: float = INLINE_LIMIT_S
    max_request_rows: int | None = None
    max_queued_rows: int | None = None
    allowed_batch_sizes: tuple[int, ...] = ()
    pad_variable_length_inputs: bool = False


@dataclass(frozen=True)
class BatchReport:
    """What a batch was like, for metrics and traces.

    Attributes:
        signature_name: The signature that ran.
        rows: Rows of its requests.
        run_s: Seconds in the engine.
        waits_s: Each request's seconds in the queue.
        sizes: Each request's rows.
        requests: Which they were, None where that isn't known.
        executed_rows: Rows that ran, with those that filled it up to an allowed batch size.
        started_s: When it started, in `time.perf_counter`'s time.
    """

    signature_name: str
    rows: int
    run_s: float
    waits_s: Sequence[float]
    sizes: Sequence[int] = ()
    requests: Sequence[RequestContext | None] = ()
    executed_rows: int = 0
    started_s: float = 0.0


class _Request:
    """A request in the queue or in the engine. Deadlines are in the event loop's time."""

    __slots__ = ("context", "deadline", "enqueued", "future", "inputs", "num_elements", "rows")

    def __init__(
        self, inputs: Arrays, rows: int | None, future: "asyncio.Future[dict[str, np.ndarray]]", deadline: float | None
    ) -> None:
        self.inputs = inputs
        self.rows = rows
        self.future = future
        self.deadline = deadline
        self.enqueued = time.perf_counter()
        self.context = CURRENT.get()
        self.num_elements = sum([array.size for array in inputs.values()])

    def abandoned(self) -> bool:
        return self.future.done()


class _Group:
    """Requests that may be joined: one call, the same inner shapes. `shared` is False where the rows can't be told."""

    __slots__ = ("call", "requests", "rows", "shared")

    def __init__(self, call: Call, *, shared: bool) -> None:
        self.call = call
        self.shared = shared
        self.requests: deque[_Request] = deque()
        self.rows = 0

    @property
    def joins(self) -> bool:
        return self.shared and self.call.joins

    def add(self, request: _Request) -> None:
        self.requests.append(request)
        self.rows += request.rows or 0

    def remove(self, request: _Request) -> None:
        self.requests.remove(request)
        self.rows -= request.rows or 0

    def take(self, max_rows: int) -> list[_Request]:
        """Removes the requests of the next batch, oldest first, at least one."""
        batch = [self.requests.popleft()]
        rows = batch[0].rows or 0
        while self.joins and self.requests and rows + (self.requests[0].rows or 0) <= max_rows:
            rows += self.requests[0].rows or 0
            batch.append(self.requests.popleft())
        self.rows -= rows
        return batch

    def ready_at(self, limits: BatchLimits) -> float:
        """When the oldest has waited long enough, in `time.perf_counter`'s time; it has where the batch is full."""
        full = not self.joins or self.rows >= limits.max_batch_size
        return self.requests[0].enqueued + (0.0 if full else limits.max_wait_s)


class BatchQueue:
    """The queue before one model version; predictions and explanations have one each.

    All methods belong to the event loop's thread. One batch runs at a time, on the loop or in `executor`.

    Args:
        name: What waits here, for messages, as in "predictions of model 'digits'".
        limits: The bounds.
        executor: Threads for batches that take long.
        observe: Called after every batch.
    """

    def __init__(
        self,
        name: str,
        *,
        limits: BatchLimits,
        executor: Executor,
        observe: Callable[[BatchReport], None],
    ) -> None:
        self._name = name
        self._limits = limits
        self._executor = executor
        self._observe = observe
        self._groups: dict[object, _Group] = {}
        self._num_queued = 0
        self._queued_rows = 0
        self._running: list[_Request] = []
        self._wake: asyncio.Handle | None = None
        self._wakes_at = 0.0
        self._expiry: asyncio.TimerHandle | None = None
        self._expires_at = math.inf
        self._stopped: asyncio.Future[None] | None = None

    def __len__(self) -> int:
        """The number of requests that wait."""
        return self._num_queued

    async def submit(self, call: Call, inputs: Arrays, *, deadline: float | None = None) -> dict[str, np.ndarray]:
        """Answers one request; cancelling takes it out of the queue.

        Args:
            call: The signature and outputs wanted.
            inputs: The arrays of the signature, checked.
            deadline: In the event loop's time; afterwards the request is not run.

        Raises:
            ServingError: RESOURCE_EXHAUSTED where the queue is full, DEADLINE_EXCEEDED, or what the model answers.
        """
        rows = count_rows(inputs) if call.joins else None
        self._check_room(rows or 0)
        loop = asyncio.get_running_loop()
        request = _Request(inputs, rows, loop.create_future(), deadline)
        group = self._group(call, request)
        group.add(request)
        self._num_queued += 1
        self._queued_rows += rows or 0
        if not self._running:
            self._wake_up(loop, group.ready_at(self._limits))
        if deadline is not None and (self._running or self._limits.max_wait_s > 0):
            self._watch(loop, deadline)  # otherwise it runs in this turn of the loop or the next
        try:
            return await request.future
        except asyncio.CancelledError:
            self._discard(request)
            raise

    async def join(self) -> None:
        """Waits until nothing runs, not even for requests that nobody waits for any more. None may be added later."""
        while self._running:
            self._stopped = asyncio.get_running_loop().create_future()
            await self._stopped
        # Until the deadline of a request that was answered they would hold on to the model.
        for timer in (self._wake, self._expiry):
            if timer is not None:
                timer.cancel()

    def _check_room(self, rows: int) -> None:
        limits = self._limits
        if limits.max_request_rows is not None and rows > limits.max_request_rows:
            raise invalid_argument(
                f"Task size {rows} is larger than maximum input batch size {limits.max_request_rows}"
            )
        full = limits.max_queued_rows is not None and self._queued_rows + rows > limits.max_queued_rows
        if full or self._num_queued >= limits.max_queued_requests:
            raise ServingError(
                Code.RESOURCE_EXHAUSTED,
                f"The queue for {self._name} is full: {self._num_queued} requests wait, and no more are taken. "
                "Send the request again later.",
            )

    def _group(self, call: Call, request: _Request) -> _Group:
        inputs = request.inputs
        if request.rows is None:
            key: tuple[object, ...] = (call,)
        elif self._limits.pad_variable_length_inputs:
            # What has no element has none to be padded with.
            key = (call, *inputs, *[array.ndim if array.size else array.shape[1:] for array in inputs.values()])
        else:
            key = (call, *inputs, *[array.shape[1:] for array in inputs.values()])
        group = self._groups.get(key)
        if group is None:
            group = self._groups[key] = _Group(call, shared=request.rows is not None)
        return group

    def _wake_up(self, loop: asyncio.AbstractEventLoop, ready_at: float) -> None:
        """Sees to it that the queue is looked at when a group is ready, at the latest."""
        now = time.perf_counter()
        if self._wake is not None:
            if self._wakes_at <= max(ready_at, now):
                return
            self._wake.cancel()
        self._wakes_at = ready_at
        self._wake = (
            loop.call_soon(self._dispatch) if ready_at <= now else loop.call_later(ready_at - now, self._dispatch)
        )

    def _dispatch(self) -> None:
        """Starts the next batch that is ready, if any."""
        loop = asyncio.get_running_loop()
        self._wake = None
        while not self._running and (group := self._next_group()) is not None:
            ready_at = group.ready_at(self._limits)
            if ready_at > time.perf_counter():
                self._wake_up(loop, ready_at)
                return
            batch = self._take(group, loop.time())
            if batch:
                self._start(loop, group.call, batch)
                return

    def _next_group(self) -> _Group | None:
        """The group that is ready first; of several that are ready, the one whose request waits longest."""
        for key in [key for key, group in self._groups.items() if not group.requests]:
            del self._groups[key]
        if len(self._groups) <= 1:
            return next(iter(self._groups.values()), None)
        now = time.perf_counter()
        order = {
            id(group): (max(group.ready_at(self._limits), now), group.requests[0].enqueued)
            for group in self._groups.values()
        }
        return min(self._groups.values(), key=lambda group: order[id(group)])

    def _take(self, group: _Group, now: float) -> list[_Request]:
        """The next batch of a group, without the requests that nobody waits for or whose time is over."""
        batch = group.take(self._limits.max_batch_size)
        self._num_queued -= len(batch)
        self._queued_rows -= sum([request.rows or 0 for request in batch])
        for request in batch:
            if request.deadline is not None and request.deadline <= now:
                _fail(request, _deadline_exceeded())
        return [request for request in batch if not request.future.done()]

    def _start(self, loop: asyncio.AbstractEventLoop, call: Call, batch: list[_Request]) -> None:
        self._running = batch
        started = time.perf_counter()
        num_elements = sum([request.num_elements for request in batch])
        limits = self._limits
        work = functools.partial(
            run_batch,
            call,
            batch,
            max_rows=limits.max_batch_size,
            sizes=limits.allowed_batch_sizes,
            pads=limits.pad_variable_length_inputs,
        )
        if call.run_time.expected_s(num_elements) <= limits.inline_limit_s:
            self._finish(call, started, work())
            if self._num_queued:
                self._wake_up(loop, started)
            return
        self._watch_all(loop)
        future = loop.run_in_executor(self._executor, work)
        future.add_done_callback(lambda done: self._finish_in_thread(call, started, done.result()))

    def _finish_in_thread(self, call: Call, started: float, run: Run) -> None:
        """Gives the engine its next batch before the answers of this one are written: it would wait for that."""
        self._finish(call, started, run)
        if self._num_queued:
            self._dispatch()

    def _finish(self, call: Call, started: float, run: Run) -> None:
        batch, self._running = self._running, []
        if self._stopped is not None and not self._stopped.done():
            self._stopped.set_result(None)
        for request, outcome in zip(batch, run.outcomes, strict=True):
            if isinstance(outcome, ServingError):
                _fail(request, outcome)
            elif not request.future.done():
                request.future.set_result(outcome)
        call.joins = call.joins and run.divisible
        call.run_time.observe(sum([request.num_elements for request in batch]), run.seconds)
        self._observe(self._report(call.signature_name, batch, started, run.seconds))

    def _report(self, signature_name: str, batch: list[_Request], started: float, run_s: float) -> BatchReport:
        sizes = [1 if request.rows is None else request.rows for request in batch]
        rows = sum(sizes)
        return BatchReport(
            signature_name,
            rows,
            run_s,
            [started - each.enqueued for each in batch],
            sizes,
            [each.context for each in batch],
            next((size for size in self._limits.allowed_batch_sizes if size >= rows), rows),
            started,
        )

    def _discard(self, request: _Request) -> None:
        for group in self._groups.values():
            if request in group.requests:
                group.remove(request)
                self._num_queued -= 1
                self._queued_rows -= request.rows or 0
                return

    def _waiting(self) -> Iterator[_Request]:
        yield from self._running
        for group in self._groups.values():
            yield from group.requests

    def _watch_all(self, loop: asyncio.AbstractEventLoop) -> None:
        """Sees to it that the earliest deadline of those who wait is noticed when it passes."""
        deadlines = [each.deadline for each in self._waiting() if each.deadline is not None and not each.future.done()]
        if deadlines:
            self._watch(loop, min(deadlines))

    def _watch(self, loop: asyncio.AbstractEventLoop, deadline: float) -> None:
        if deadline >= self._expires_at:
            return
        if self._expiry is not None:
            self._expiry.cancel()
        self._expires_at = deadline
        # Loops round to milliseconds: one more makes sure that the deadline has passed when the timer fires.
        self._expiry = loop.call_at(deadline + 0.001, self._expire)

    def _expire(self) -> None:
        """Answers every request whose time is over, and takes those that still wait out of the queue."""
        loop = asyncio.get_running_loop()
        self._expiry = None
        self._expires_at = math.inf
        now = loop.time()
        for request in [each for each in self._waiting() if each.deadline is not None and each.deadline <= now]:
            _fail(request, _deadline_exceeded())
            self._discard(request)
        self._watch_all(loop)


def _fail(request: _Request, error: ServingError) -> None:
    if not request.future.done():
        # Each request gets an exception of its own: a shared one would collect the tracebacks of all who await it.
        request.future.set_exception(ServingError(error.code, error.message))


def _deadline_exceeded() -> ServingError:
    return ServingError(Code.DEADLINE_EXCEEDED, "The request's deadline passed before it was answered.")
