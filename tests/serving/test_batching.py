"""The queue's promises. Events decide who waits for whom: no test depends on how fast the machine is."""

import asyncio
import threading
from collections.abc import Coroutine
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest

from serving.batch import Call
from serving.batching import BatchLimits, BatchQueue, BatchReport
from serving.errors import Code, ServingError
from tests.serving.models import RecordingModel

NEVER_INLINE = 0.0
ALWAYS_INLINE = float("inf")


class Bench:
    """A queue before a recording model, and requests to it."""

    def __init__(self, model: RecordingModel, *, inline_limit_s: float = NEVER_INLINE, **limits: Any) -> None:
        self.model = model
        self.reports: list[BatchReport] = []
        self.threads = ThreadPoolExecutor(2)
        self.queue = BatchQueue(
            "predictions",
            limits=BatchLimits(inline_limit_s=inline_limit_s, **limits),
            executor=self.threads,
            observe=self.reports.append,
        )
        self.call = Call(model, "serving_default", model.signatures["serving_default"], ("y",), batchable=True)

    async def ask(self, *rows: float, width: int = 1, timeout_s: float | None = None) -> list[float]:
        x = np.array([[value] * width for value in rows], np.float32)
        deadline = None if timeout_s is None else asyncio.get_running_loop().time() + timeout_s
        return (await self.queue.submit(self.call, {"x": x}, deadline=deadline))["y"].ravel().tolist()

    def start(self, *rows: float, **options: Any) -> "asyncio.Task[list[float]]":
        return asyncio.create_task(self.ask(*rows, **options))

    async def occupy(self) -> "asyncio.Task[list[float]]":
        """Starts a request that keeps the engine busy until `model.gate` is set."""
        self.model.gate.clear()
        self.model.entered.clear()
        task = self.start(0)
        await asyncio.to_thread(self.model.entered.wait, 10)
        return task


async def settle() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


def run(test: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(test, 20))


@pytest.mark.parametrize("inline_limit_s", [NEVER_INLINE, ALWAYS_INLINE])
def test_requests_of_one_turn_of_the_loop_run_as_one_batch(inline_limit_s):
    async def test():
        bench = Bench(RecordingModel(), inline_limit_s=inline_limit_s)
        assert await asyncio.gather(bench.ask(1), bench.ask(2, 3), bench.ask(4)) == [[1], [2, 3], [4]]
        assert bench.model.rows() == [[1, 2, 3, 4]]
        assert [(report.rows, len(report.waits_s)) for report in bench.reports] == [(4, 3)]

    run(test())


def test_whatever_came_while_the_engine_was_busy_runs_as_one_batch():
    async def test():
        bench = Bench(RecordingModel())
        first = await bench.occupy()
        others = [bench.start(value) for value in (1, 2, 3)]
        await settle()
        assert len(bench.queue) == 3
        bench.model.gate.set()
        assert await asyncio.gather(first, *others) == [[0], [1], [2], [3]]
        assert bench.model.rows() == [[0], [1, 2, 3]]

    run(test())


def test_the_engine_gets_its_next_batch_before_the_answers_of_the_last_are_read():
    async def test():
        bench = Bench(RecordingModel())

        async def count_waiting_when_answered():
            await bench.ask(0)
            return len(bench.queue)

        bench.model.gate.clear()
        bench.model.entered.clear()
        first = asyncio.create_task(count_waiting_when_answered())
        await asyncio.to_thread(bench.model.entered.wait, 10)
        second = bench.start(1)
        await settle()
        bench.model.gate.set()
        assert await first == 0
        assert await second == [1]

    run(test())


def test_a_batch_has_at_most_the_maximum_number_of_rows():
    async def test():
        bench = Bench(RecordingModel(), max_batch_size=3)
        await asyncio.gather(*[bench.ask(value) for value in range(7)])
        assert bench.model.rows() == [[0, 1, 2], [3, 4, 5], [6]]

    run(test())


def test_a_request_that_does_not_fit_waits_for_the_next_batch_and_keeps_the_order():
    async def test():
        bench = Bench(RecordingModel(), max_batch_size=3)
        await asyncio.gather(bench.ask(1, 2), bench.ask(3, 4), bench.ask(5))
        assert bench.model.rows() == [[1, 2], [3, 4, 5]]

    run(test())


def test_requests_of_different_inner_shapes_are_not_joined():
    async def test():
        bench = Bench(RecordingModel())
        answers = await asyncio.gather(bench.ask(1), bench.ask(2, width=3), bench.ask(3), bench.ask(4, width=3))
        assert answers == [[1], [6], [3], [12]]
        assert bench.model.rows() == [[1, 3], [2, 4]]

    run(test())


def test_outputs_that_cannot_be_divided_are_never_joined_again():
    async def test():
        bench = Bench(RecordingModel(lambda x: x.sum(axis=0)))
        assert await asyncio.gather(bench.ask(1), bench.ask(2)) == [[1], [2]]
        assert bench.model.rows() == [[1, 2], [1], [2]]
        assert await asyncio.gather(bench.ask(3), bench.ask(4)) == [[3], [4]]
        assert bench.model.rows()[3:] == [[3], [4]]

    run(test())


def test_a_full_queue_refuses_at_once_and_loses_nothing():
    async def test():
        bench = Bench(RecordingModel(), max_queued_requests=2)
        first = await bench.occupy()
        waiting = [bench.start(1), bench.start(2)]
        await settle()
        with pytest.raises(ServingError, match="queue for predictions is full: 2 requests wait") as refused:
            await bench.ask(3)
        assert refused.value.code == Code.RESOURCE_EXHAUSTED
        bench.model.gate.set()
        assert await asyncio.gather(first, *waiting) == [[0], [1], [2]]

    run(test())


def test_a_cancelled_request_leaves_the_queue_without_running():
    async def test():
        bench = Bench(RecordingModel(), max_queued_requests=2)
        first = await bench.occupy()
        kept, left = bench.start(1), bench.start(2)
        await settle()
        left.cancel()
        await settle()
        assert len(bench.queue) == 1
        also_kept = bench.start(3)  # there is room again
        await settle()
        bench.model.gate.set()
        assert await asyncio.gather(first, kept, also_kept) == [[0], [1], [3]]
        assert bench.model.rows() == [[0], [1, 3]]

    run(test())


def test_an_expired_request_is_answered_on_time_and_never_run():
    async def test():
        bench = Bench(RecordingModel())
        first = await bench.occupy()
        late = bench.start(1, timeout_s=0.02)
        patient = bench.start(2, timeout_s=60)
        with pytest.raises(ServingError) as expired:  # while the engine is still busy
            await late
        assert expired.value.code == Code.DEADLINE_EXCEEDED
        assert len(bench.queue) == 1
        bench.model.gate.set()
        assert await asyncio.gather(first, patient) == [[0], [2]]
        assert bench.model.rows() == [[0], [2]]

    run(test())


def test_a_request_that_expires_while_it_runs_is_answered_on_time():
    async def test():
        bench = Bench(RecordingModel())
        bench.model.gate.clear()
        with pytest.raises(ServingError) as expired:
            await bench.ask(1, timeout_s=0.02)
        assert expired.value.code == Code.DEADLINE_EXCEEDED
        bench.model.gate.set()
        await bench.queue.join()
        assert await bench.ask(2) == [2]

    run(test())


def test_a_request_whose_deadline_has_passed_is_not_run():
    async def test():
        bench = Bench(RecordingModel())
        with pytest.raises(ServingError) as expired:
            await bench.ask(1, timeout_s=-1.0)
        assert expired.value.code == Code.DEADLINE_EXCEEDED
        assert bench.model.batches == []

    run(test())


def test_one_bad_request_fails_alone():
    async def test():
        def refuse_negative(x: np.ndarray) -> np.ndarray:
            if (x < 0).any():
                raise ServingError(Code.INVALID_ARGUMENT, "negative")
            return x

        bench = Bench(RecordingModel(refuse_negative))
        answers = await asyncio.gather(bench.ask(1), bench.ask(-1), bench.ask(2), return_exceptions=True)
        assert answers[0] == [1]
        assert answers[2] == [2]
        assert isinstance(answers[1], ServingError)
        assert answers[1].message == "negative"

    run(test())


def test_with_a_wait_the_batch_starts_when_it_is_full():
    async def test():
        bench = Bench(RecordingModel(), max_wait_s=60, max_batch_size=2)
        first = bench.start(1)
        await settle()
        assert bench.model.batches == []
        assert await bench.ask(2) == [2]
        assert await first == [1]
        assert bench.model.rows() == [[1, 2]]

    run(test())


def test_with_a_wait_the_batch_starts_when_the_oldest_has_waited_long_enough():
    async def test():
        bench = Bench(RecordingModel(), max_wait_s=0.02, max_batch_size=100)
        assert await asyncio.gather(bench.ask(1), bench.ask(2)) == [[1], [2]]
        assert bench.model.rows() == [[1, 2]]
        assert all(wait_s >= 0.019 for wait_s in bench.reports[0].waits_s)

    run(test())


def test_a_request_that_expires_while_it_waits_for_others_is_answered_on_time():
    async def test():
        bench = Bench(RecordingModel(), max_wait_s=60)
        with pytest.raises(ServingError) as expired:
            await bench.ask(1, timeout_s=0.02)
        assert expired.value.code == Code.DEADLINE_EXCEEDED
        assert bench.model.batches == []

    run(test())


def test_an_earlier_deadline_that_comes_later_is_noticed_while_the_queue_waits():
    async def test():
        bench = Bench(RecordingModel(), max_wait_s=60)
        patient = bench.start(1)
        await settle()
        with pytest.raises(ServingError) as expired:
            await bench.ask(2, timeout_s=0.02)
        assert expired.value.code == Code.DEADLINE_EXCEEDED
        patient.cancel()

    run(test())


def test_a_slow_model_runs_in_a_thread_and_a_fast_one_on_the_loop():
    async def test():
        here = threading.get_ident()
        bench = Bench(RecordingModel(), inline_limit_s=0.5)
        await bench.ask(1)  # nothing known yet: a thread
        bench.call.run_time.observe(1, 0.0001)
        await bench.ask(2)
        bench.call.run_time.observe(1, 100.0)
        await bench.ask(3)
        assert [thread == here for thread in bench.model.threads] == [False, True, False]

    run(test())


def test_join_waits_for_a_run_that_nobody_waits_for():
    async def test():
        bench = Bench(RecordingModel())
        first = await bench.occupy()
        first.cancel()
        joining = asyncio.create_task(bench.queue.join())
        await settle()
        assert not joining.done()
        bench.model.gate.set()
        await joining

    run(test())


def test_every_answer_is_its_own_under_load():
    """1,000 requests of random sizes with random cancellations: each that is answered got exactly its own rows back."""

    async def test():
        rng = np.random.default_rng(0)
        bench = Bench(RecordingModel(lambda x: x), max_batch_size=16, max_queued_requests=10_000)
        requests = [rng.normal(size=int(size)).astype(np.float32).tolist() for size in rng.integers(1, 30, size=1000)]
        tasks = []
        for number, rows in enumerate(requests):
            tasks.append(bench.start(*rows))
            if number % 7 == 0:
                await asyncio.sleep(0)
            if number % 50 == 49:
                tasks[-20].cancel()
        answers = await asyncio.gather(*tasks, return_exceptions=True)
        answered = 0
        for rows, answer in zip(requests, answers, strict=True):
            if not isinstance(answer, asyncio.CancelledError):
                assert answer == rows
                answered += 1
        assert answered >= 980
        assert len(bench.queue) == 0

    run(test())


def test_a_request_of_more_rows_than_allowed_is_refused_in_tensorflow_servings_words():
    async def test():
        bench = Bench(RecordingModel(), max_request_rows=2)
        assert await bench.ask(1, 2) == [1, 2]
        with pytest.raises(ServingError, match=r"^Task size 3 is larger than maximum input batch size 2$") as refused:
            await bench.ask(1, 2, 3)
        assert refused.value.code == Code.INVALID_ARGUMENT

    run(test())


def test_the_queue_is_bounded_in_rows_and_takes_more_as_it_empties():
    async def test():
        bench = Bench(RecordingModel(), max_queued_rows=4)
        running = await bench.occupy()
        waiting = bench.start(1, 2, 3)
        await settle()
        with pytest.raises(ServingError, match="The queue for predictions is full: 1 requests wait") as refused:
            await bench.ask(4, 5)
        assert refused.value.code == Code.RESOURCE_EXHAUSTED
        waiting.cancel()
        await settle()
        again = bench.start(6, 7, 8, 9)
        await settle()
        bench.model.gate.set()
        assert (await running, await again) == ([0], [6, 7, 8, 9])
        assert await bench.ask(1, 2, 3, 4) == [1, 2, 3, 4]

    run(test())


def test_requests_of_different_lengths_run_as_one_batch_only_where_they_are_padded():
    async def test(batches, *, pads):
        bench = Bench(RecordingModel(), pad_variable_length_inputs=pads, allowed_batch_sizes=(1, 2, 4))
        running = await bench.occupy()
        waiting = [bench.start(1, width=2), bench.start(2, width=3), bench.start(3, width=1)]
        await settle()
        bench.model.gate.set()
        await running
        assert await asyncio.gather(*waiting) == ([[3], [6], [9]] if pads else [[2], [6], [3]])
        assert [len(batch) for batch in bench.model.batches[1:]] == batches

    run(test([4], pads=True))  # three rows, filled up to four
    run(test([1, 1, 1], pads=False))


def test_a_request_without_elements_is_not_padded_and_the_others_are():
    async def test():
        bench = Bench(RecordingModel(), pad_variable_length_inputs=True)
        running = await bench.occupy()
        waiting = [bench.start(1, width=2), bench.start(5, 5, width=0), bench.start(2, width=3)]
        await settle()
        bench.model.gate.set()
        await running
        assert await asyncio.gather(*waiting) == [[3], [0, 0], [6]]
        assert sorted(batch.shape for batch in bench.model.batches[1:]) == [(2, 0), (2, 3)]

    run(test())
