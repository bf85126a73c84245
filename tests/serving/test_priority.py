"""Priorities of real threads; Linux only."""

import os
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from serving import priority
from serving.engines.onnxruntime import OnnxRuntimeEngine
from serving.priority import (
    BACKGROUND_NICE,
    TURN_S,
    can_undo,
    make_way,
    short_turns,
    started_threads_keep_priority,
)
from tests.serving.bench import ServingBench, run_bench, settle
from tests.serving.bundles import write_bundle

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="other systems have no priority of single threads")


def nice():
    return os.getpriority(os.PRIO_PROCESS, 0)


@pytest.fixture
def refused(monkeypatch):
    """As in a container: no thread may be given more priority."""
    setpriority = os.setpriority

    def lower_only(which, who, value):
        if value < os.getpriority(which, who):
            raise PermissionError
        setpriority(which, who, value)

    monkeypatch.setattr(os, "setpriority", lower_only)
    can_undo.cache_clear()
    yield
    can_undo.cache_clear()


class StartsAThread:
    """Runs in a thread that makes way, and starts one that stays."""

    def __init__(self):
        self.release = threading.Event()
        with ThreadPoolExecutor(1, initializer=make_way) as background:
            background.submit(self._start).result()

    def _start(self):
        ready = threading.Event()

        def stay():
            self.thread = threading.get_native_id()
            ready.set()
            self.release.wait(10)

        self.own = nice()
        with started_threads_keep_priority():
            threading.Thread(target=stay).start()
            ready.wait(10)


def started():
    """Niceness of a thread that makes way, and of one that it has started."""
    case = StartsAThread()
    try:
        return case.own, os.getpriority(os.PRIO_PROCESS, case.thread)
    finally:
        case.release.set()


def test_a_thread_makes_way_and_no_other_does():
    usual = nice()
    with ThreadPoolExecutor(1, initializer=make_way) as background:
        assert background.submit(nice).result() == usual + BACKGROUND_NICE
    assert nice() == usual


def test_threads_that_it_starts_keep_their_priority_where_that_is_allowed():
    own, other = started()
    assert own == nice() + BACKGROUND_NICE
    assert other == (nice() if can_undo() else own)


def test_where_it_is_not_allowed_they_inherit(refused):
    assert not can_undo()
    own, other = started()
    assert other == own


class NotingEngine(OnnxRuntimeEngine):
    """The real engine, which notes how nice the thread is that loads."""

    def __init__(self, **options):
        super().__init__(**options)
        self.nice = []

    def load(self, path):
        self.nice.append(nice())
        return super().load(path)


@pytest.mark.parametrize(
    ("num_threads", "allowed", "makes_way"), [(1, False, True), (2, False, False), (1, True, True), (2, True, True)]
)
def test_what_is_loaded_beside_requests_makes_way_unless_the_engines_threads_would_too(
    tmp_path, monkeypatch, num_threads, allowed, makes_way
):
    monkeypatch.setattr("serving.loader.can_undo", lambda: allowed)
    write_bundle(tmp_path, 1)
    engine = NotingEngine(num_threads=num_threads)

    async def test(bench):
        write_bundle(tmp_path, 2)
        await bench.manager.poll()
        await settle(lambda: bench.states().get(2) == "AVAILABLE")

    run_bench(ServingBench(tmp_path, engine=engine), test)
    assert engine.nice == [nice(), nice() + BACKGROUND_NICE * makes_way]


@pytest.mark.skipif(not can_undo(), reason="needs the right to give threads more priority")
def test_threads_of_a_session_do_not_make_way(tmp_path):
    write_bundle(tmp_path, 1)
    before = priority._threads()

    async def test(bench):
        write_bundle(tmp_path, 2)
        await bench.manager.poll()
        await settle(lambda: bench.states().get(2) == "AVAILABLE")
        making_way = [each for each in priority._threads() - before if os.getpriority(os.PRIO_PROCESS, each) > nice()]
        assert len(making_way) == 1  # the one that loads

    run_bench(ServingBench(tmp_path, engine=OnnxRuntimeEngine(num_threads=2)), test)


def test_turns_are_short_until_the_last_load_has_ended():
    usual = sys.getswitchinterval()
    assert usual > TURN_S
    first, second = short_turns(), short_turns()
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)
    assert sys.getswitchinterval() == pytest.approx(TURN_S)
    second.__exit__(None, None, None)
    assert sys.getswitchinterval() == pytest.approx(usual)


def test_a_load_takes_short_turns(tmp_path, monkeypatch):
    seen = []
    load = OnnxRuntimeEngine.load

    def watched(engine, path):
        seen.append(sys.getswitchinterval())
        return load(engine, path)

    monkeypatch.setattr(OnnxRuntimeEngine, "load", watched)
    write_bundle(tmp_path, 1)

    async def test(bench):
        seen.append(sys.getswitchinterval())

    run_bench(ServingBench(tmp_path, engine=OnnxRuntimeEngine()), test)
    assert seen == pytest.approx([TURN_S, sys.getswitchinterval()])
