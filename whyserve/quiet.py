"""Keeps what native libraries write to standard error, such as TensorFlow's remarks on missing GPUs, out of the way."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

STDERR = 2


@contextmanager
def native_stderr_in(log: Path) -> Iterator[None]:
    """Sends standard error, of native code too, to a file; Python's exceptions pass as ever.

    Args:
        log: The file; what it held is lost.
    """
    sys.stderr.flush()
    saved = os.dup(STDERR)
    try:
        with log.open("wb") as file:
            os.dup2(file.fileno(), STDERR)
        yield
    finally:
        sys.stderr.flush()
        os.dup2(saved, STDERR)
        os.close(saved)
