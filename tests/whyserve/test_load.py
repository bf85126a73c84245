import asyncio
import time

import pytest

from tests.whyserve.peer import Peer, plan
from whyserve.benchmark.load import Answer, generate, steady_rate


def answers(*times):
    return [Answer(at, latency=0.5) for at in times]


def test_a_rate_holds_whole_bursts_and_neither_the_start_nor_the_end_of_a_load():
    # A batch of two every second: 2 a second, whenever one looks.
    load = answers(1.0, 1.0, 2.0, 2.0, 3.0, 3.0, 4.0, 4.0)
    for begin in (1.1, 1.5, 1.9):
        counted, rate = steady_rate(load, begin, begin + 2)
        assert rate == pytest.approx(2.0)
        assert [each.at for each in counted] == [2.0, 2.0, 3.0, 3.0]


def test_a_rate_without_an_answer_before_it_or_within_it_is_refused():
    with pytest.raises(RuntimeError, match="Measure for more seconds"):
        steady_rate(answers(2.0), 1.0, 3.0)
    with pytest.raises(RuntimeError, match="Measure for more seconds"):
        steady_rate(answers(0.5), 1.0, 3.0)


def test_at_saturation_every_answer_of_the_measured_time_counts_and_no_other():
    async def measured():
        peer = Peer(answers=10**9)
        async with peer as port:
            load = await generate(plan(port, connections=2, seconds=0.2))
            return load.figures(), peer.requests

    figures, received = asyncio.run(measured())
    assert 0 < figures["requests"] < received  # the warm-up's don't count
    assert figures["requests_per_s"] == pytest.approx(figures["requests"] / 0.2, rel=0.2)
    assert 0 < figures["generator_busy"] <= 1.05
    assert 0 < figures["p50_ms"] <= figures["max_ms"]


def test_at_a_rate_requests_that_were_due_while_one_was_slow_count_as_late():
    async def measured():
        async with Peer(delay_s=0.3, answers=100) as port:
            # The warm-up takes the slow request: each connection sends one before the measured ones.
            return (await generate(plan(port, connections=1, seconds=0.2, rate_per_s=100.0))).figures()

    start = time.monotonic()
    figures = asyncio.run(measured())
    assert time.monotonic() - start >= 0.3 + 19 / 100
    assert figures["max_ms"] < 150  # none of the measured ones was slow, and they didn't all go at once
    assert figures["requests"] == 20
    assert figures["requests_per_s"] < 120
