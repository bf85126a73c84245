"""What is done when, on a clock that the test moves."""

import pytest

from serving.grpc.http2.lifetime import Lifetime, Step
from serving.grpc.http2.limits import Limits


def test_without_limits_nothing_happens_for_long() -> None:
    lifetime = Lifetime(Limits(), 0.0)
    assert [lifetime.due(now, num_calls=0) for now in (0, 10**4, 10**9)] == [None] * 3


def test_an_idle_connection_is_drained_and_one_with_calls_is_not() -> None:
    lifetime = Lifetime(Limits(max_idle_s=10.0), 0.0)
    assert lifetime.due(9.9, num_calls=0) is None
    assert lifetime.due(20.0, num_calls=1) is None
    lifetime.idle_since = 20.0
    assert lifetime.due(29.9, num_calls=0) is None
    assert lifetime.due(30.0, num_calls=0) is Step.DRAIN_IDLE


def test_an_old_connection_is_drained_and_then_ended() -> None:
    lifetime = Lifetime(Limits(max_age_s=100.0), 0.0)
    assert lifetime.due(89.0, num_calls=1) is None
    assert lifetime.due(111.0, num_calls=1) is Step.DRAIN_AGED
    lifetime.drain(111.0, grace_s=5.0)
    assert lifetime.due(111.5, num_calls=1) is None
    assert lifetime.due(112.0, num_calls=1) is Step.STOP_OPENING, "the client hasn't answered in a second"
    lifetime.stop_opening()
    assert lifetime.due(113.0, num_calls=1) is None
    assert lifetime.due(116.0, num_calls=1) is Step.END


def test_connections_of_one_age_dont_end_together() -> None:
    ends = {Lifetime(Limits(max_age_s=100.0), 0.0)._dies_at for _ in range(100)}
    assert len(ends) > 50
    assert all(90 <= end <= 110 for end in ends)


@pytest.mark.parametrize(
    ("num_calls", "without_calls", "asked"), [(1, False, True), (0, True, True), (0, False, False)]
)
def test_a_silent_client_is_asked_and_ended_when_it_says_nothing(
    num_calls: int, without_calls: bool, asked: bool
) -> None:
    limits = Limits(keepalive_time_s=10.0, keepalive_timeout_s=3.0, keepalive_without_calls=without_calls)
    lifetime = Lifetime(limits, 0.0)
    assert lifetime.due(9.0, num_calls=num_calls) is None
    assert lifetime.due(10.0, num_calls=num_calls) is (Step.PING if asked else None)
    assert lifetime.due(12.0, num_calls=num_calls) is None
    if asked:
        assert lifetime.due(13.0, num_calls=num_calls) is Step.END


def test_one_that_answers_lives() -> None:
    lifetime = Lifetime(Limits(keepalive_time_s=10.0, keepalive_timeout_s=3.0), 0.0)
    assert lifetime.due(10.0, num_calls=1) is Step.PING
    lifetime.received_at = 10.1
    assert lifetime.due(15.0, num_calls=1) is None
    assert lifetime.due(20.1, num_calls=1) is Step.PING
