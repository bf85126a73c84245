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

_TASKS = Path("/proc/self/task")

_made_to_wait: set[int] = set()


def make_way() -> None:
    """From now on the calling thread gets the processor when no other thread of the server needs it."""
    if sys.platform == "linux":
        _made_to_wait.add(threading.get_native_id())
        os.setpriority(os.PRIO_PROCESS, 0, os.getpriority(os.PRIO_PROCESS, 0) + BACKGROUND_NICE)


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
