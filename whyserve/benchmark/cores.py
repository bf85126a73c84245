"""Which cores the parts of a measurement keep to: a load generator on the server's cores would be measured with it."""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass


@dataclass(frozen=True)
class Cores:
    """Cores of the server and of the load generator.

    Attributes:
        server: Those of the server, and of the runs in process that it is compared with.
        generator: Those of the load generator; the server's, where there is only one core.
    """

    server: tuple[int, ...]
    generator: tuple[int, ...]

    @classmethod
    def divide(cls, cores: Sequence[int]) -> "Cores":
        """The last core for the generator, all others for the server."""
        every = tuple(sorted(cores))
        return cls(every[:-1] or every, every[-1:])

    def __str__(self) -> str:
        if self.server == self.generator:
            return f"server, runs in process and load generator share core {_list(self.server)}: shares come out low"
        return f"server and runs in process on core {_list(self.server)}, load generator on {_list(self.generator)}"


@contextmanager
def pinned(cores: Sequence[int]) -> Iterator[None]:
    """Keeps this thread, and the processes and threads that it starts, to some cores."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def _list(cores: Sequence[int]) -> str:
    return ", ".join(map(str, cores))
