"""Threads that make way for others: on Linux each thread has a nice value of its own (sched(7))."""

import functools
import os
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

BACKGROUND_NICE = 10
"""A tenth of the processor beside a thread that answers requests, all of it where that waits."""

TURN_S = 0.0005
"""How long a thread of Python waits before it asks the one that runs to make way; by default ten times as long."""

_TASKS = Path("/proc/self/task")

_made_to_wait: set[int] = set()
_turns = threading.Lock()
_usual_turns: list[float] = []


def make_way() -> None:
    """From now on the calling thread gets the processor when no other thread of the server needs it."""
    if sys.platform == "linux":
        _made_to_wait.add(threading.get_native_id())
        os.setpriority(os.PRIO_PROCESS, 0, os.getpriority(os.PRIO_PROCESS, 0) + BACKGROUND_NICE)


@contextmanager
def short_turns() -> Iterator[None]:
    """Meanwhile threads of Python take short turns, so that one that answers doesn't wait for one that loads.

    Not for good: it costs a busy server some percent of its requests.
    """
    with _turns:
        _usual_turns.append(sys.getswitchinterval())
        sys.setswitchinterval(TURN_S)
    try:
        yield
    finally:
        with _turns:
            usual = _usual_turns.pop()
            if not _usual_turns:
                sys.setswitchinterval(usual)


@functools.cache
def can_undo() -> bool:
    """Whether a thread that was made to make way may be given its priority back; most containers don't allow it."""
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(_try_to_undo).result()


@contextmanager
def started_threads_keep_priority() -> Iterator[None]:
    """Threads that the block starts get the priority of the server's others, and not that of the thread it runs in.

    Linux lets threads inherit it. Does nothing where it can't be undone.
    """
    if not can_undo():
        yield
        return
    before = _threads()
    try:
        yield
    finally:
        usual = os.getpriority(os.PRIO_PROCESS, os.getpid())
        for thread in _threads() - before - _made_to_wait:
            _set_priority(thread, usual)


def _threads() -> set[int]:
    return {int(task.name) for task in _TASKS.iterdir()}


def _set_priority(thread: int, nice: int) -> bool:
    try:
        os.setpriority(os.PRIO_PROCESS, thread, nice)
    except (ProcessLookupError, PermissionError):  # it has ended; or that isn't allowed
        return False
    return True


def _try_to_undo() -> bool:
    if sys.platform != "linux":
        return False
    usual = os.getpriority(os.PRIO_PROCESS, 0)
    os.setpriority(os.PRIO_PROCESS, 0, usual + 1)
    return _set_priority(0, usual)
