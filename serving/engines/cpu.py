"""How many processors this process may use."""

import os
from pathlib import Path

CGROUP = Path("/sys/fs/cgroup")


def count_cpus(*, cgroup: Path = CGROUP) -> int:
    """The processors this process may keep busy: its affinity, or its container's limit where that is lower.

    Engines start one thread a processor of the *machine* by themselves, which is slow in a container that was given
    two.

    Args:
        cgroup: Where the control group's files lie (cgroup v2: `cpu.max`; v1: `cpu/cpu.cfs_quota_us`).

    Returns:
        A whole number, at least 1; a limit of 1.5 processors is rounded up to 2.
    """
    affinity = len(os.sched_getaffinity(0))
    quota = _quota(cgroup)
    return affinity if quota is None else max(1, min(affinity, quota))


def _quota(cgroup: Path) -> int | None:
    try:
        quota_us, period_us = _read_quota(cgroup)
    except (OSError, ValueError):  # no control group, or "max"
        return None
    return None if quota_us <= 0 or period_us <= 0 else -(-quota_us // period_us)


def _read_quota(cgroup: Path) -> tuple[int, int]:
    unified = cgroup / "cpu.max"
    if unified.exists():
        quota, period = unified.read_text().split()
        return int(quota), int(period)
    legacy = cgroup / "cpu"
    return int((legacy / "cpu.cfs_quota_us").read_text()), int((legacy / "cpu.cfs_period_us").read_text())
