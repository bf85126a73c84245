import math

from serving.run_time import RunTime


def test_nothing_is_expected_before_a_run_was_seen():
    assert RunTime().expected_s(100) == math.inf


def test_the_first_run_of_a_size_is_forgotten_at_the_second():
    run_time = RunTime()
    run_time.observe(8, 1.0)
    assert run_time.expected_s(8) == 1.0
    run_time.observe(8, 0.1)
    assert run_time.expected_s(8) == 0.1
    run_time.observe(8, 0.2)
    assert math.isclose(run_time.expected_s(8), 0.1 + 0.3 * 0.1)


def test_sizes_are_told_apart_by_powers_of_two():
    run_time = RunTime()
    run_time.observe(8, 1.0)
    assert run_time.expected_s(15) == 1.0
    assert run_time.expected_s(16) == 2.0
    assert run_time.expected_s(32) == 4.0


def test_a_smaller_size_is_expected_to_take_no_longer_than_the_smallest_known():
    run_time = RunTime()
    run_time.observe(64, 1.0)
    assert run_time.expected_s(1) == 1.0
