"""How a long step tells where it is, and the bar that shows it in a terminal."""

from types import TracebackType
from typing import Any, Protocol, Self


class Progress(Protocol):
    """Receives what a long step reports; the caller decides how to show it."""

    def message(self, text: str) -> None:
        """One line about what happened or begins."""

    def step(self, label: str, done: int, total: int) -> None:
        """`done` of `total` units of the part called `label` are finished; a part ends with `done == total`."""


class SilentProgress:
    """Shows nothing: for tests and callers that only want the result."""

    def message(self, text: str) -> None:
        """Drops the line."""

    def step(self, label: str, done: int, total: int) -> None:
        """Drops the step."""


class TerminalProgress:
    """A progress bar with the time left, on standard error; lines of text above it. A context manager.

    Standard output stays free for results (`--json`). Where standard error is no terminal, only the lines are printed.
    """

    def __init__(self) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

        count = TextColumn("{task.completed}/{task.total}")
        columns = (TextColumn("{task.description}"), BarColumn(), count, TimeRemainingColumn())
        self._bar = Progress(*columns, console=Console(stderr=True), transient=True)
        self._tasks: dict[str, Any] = {}

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()

    def message(self, text: str) -> None:
        """Prints the line above the bar."""
        self._bar.console.print(text, markup=False, highlight=False)

    def step(self, label: str, done: int, total: int) -> None:
        """Moves the bar of this part, made at its first step and removed after its last."""
        if label not in self._tasks:
            self._tasks[label] = self._bar.add_task(label, total=total)
        self._bar.update(self._tasks[label], completed=done, total=total)
        if done >= total:
            self._bar.remove_task(self._tasks.pop(label))
