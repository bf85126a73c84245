import os

import pytest

from serving.engines.cpu import count_cpus


@pytest.mark.parametrize(
    ("content", "limit"),
    [("100000 100000", 1), ("150000 100000", 2), ("10000 100000", 1), ("max 100000", None), ("nonsense", None)],
)
def test_the_limit_of_a_container_counts(tmp_path, content, limit):
    (tmp_path / "cpu.max").write_text(content)
    affinity = len(os.sched_getaffinity(0))
    assert count_cpus(cgroup=tmp_path) == min(affinity, limit or affinity)


@pytest.mark.parametrize(("quota", "limit"), [("100000", 1), ("-1", None)])
def test_the_limit_of_an_older_container_counts(tmp_path, quota, limit):
    (tmp_path / "cpu").mkdir()
    (tmp_path / "cpu" / "cpu.cfs_quota_us").write_text(quota)
    (tmp_path / "cpu" / "cpu.cfs_period_us").write_text("100000")
    affinity = len(os.sched_getaffinity(0))
    assert count_cpus(cgroup=tmp_path) == min(affinity, limit or affinity)


def test_the_affinity_counts(tmp_path):
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(before)})
    try:
        assert count_cpus(cgroup=tmp_path) == 1
    finally:
        os.sched_setaffinity(0, before)
