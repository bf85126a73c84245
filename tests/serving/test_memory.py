from pathlib import Path

import numpy as np
import pytest

from serving.memory import return_free_memory

PAGE = 4096
BLOCK = 100_000  # bytes: below glibc's threshold for memory of its own


def resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * PAGE


@pytest.mark.skipif(
    not Path("/proc/self/statm").exists(), reason="reads what Linux tells of a process's memory under /proc"
)
def test_memory_below_something_that_stays_goes_back_to_the_machine():
    blocks = [np.ones(BLOCK, np.uint8) for _ in range(1000)]
    kept = blocks[::100]
    before = resident_bytes()
    del blocks
    return_free_memory()
    assert before - resident_bytes() > 0.8 * 990 * BLOCK
    assert all(block.all() for block in kept)
