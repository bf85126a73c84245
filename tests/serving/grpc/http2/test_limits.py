"""Who wastes what, with hand-worked numbers."""

import pytest

from serving.errors import ServingError
from serving.grpc.http2.errors import ErrorCode, Http2ConnectionError
from serving.grpc.http2.limits import Allowance, Limits, PingPolice, ReceiveBudget


def test_waste_is_bounded_and_time_and_answers_earn_it_back() -> None:
    allowance = Allowance()
    for _ in range(4000):
        allowance.spend(0.0, "pings")
    with pytest.raises(Http2ConnectionError, match="Too many pings") as caught:
        allowance.spend(0.0, "pings")
    assert caught.value.code == ErrorCode.ENHANCE_YOUR_CALM
    for _ in range(500):  # 1000 a second
        allowance.spend(0.5, "pings")
    with pytest.raises(Http2ConnectionError):
        allowance.spend(0.5, "pings")
    allowance.earn()
    allowance.spend(0.5, "pings")
    with pytest.raises(Http2ConnectionError):
        allowance.spend(0.5, "pings")


def pings(limits: Limits, *times: float, idle: bool = False, sent: tuple[int, ...] = ()) -> int:
    """How many pings pass; before those in `sent` a frame is sent."""
    police, num_sent = PingPolice(limits), 0
    for number, now in enumerate(times):
        num_sent += number in sent
        try:
            police.check(now, num_sent=num_sent, idle=idle)
        except Http2ConnectionError:
            return number
    return len(times)


def test_two_pings_may_come_too_soon_and_no_third() -> None:
    assert pings(Limits(), 0, 1, 2, 3, 4) == 3
    assert pings(Limits(), 0, 300, 600, 900, 1200) == 5
    police = PingPolice(Limits(max_ping_strikes=1))
    police.check(0.0, num_sent=0, idle=False)
    police.check(0.0, num_sent=0, idle=False)
    with pytest.raises(Http2ConnectionError, match="too_many_pings"):
        police.check(0.0, num_sent=0, idle=False)
    assert pings(Limits(max_ping_strikes=0), *range(100)) == 100
    assert pings(Limits(min_ping_interval_s=1.0), *range(100)) == 100


def test_without_calls_pings_are_for_every_two_hours_unless_allowed() -> None:
    assert pings(Limits(), 0, 301, 602, 903, idle=True) == 3
    assert pings(Limits(keepalive_without_calls=True), 0, 301, 602, 903, idle=True) == 4


def test_pings_after_content_are_no_waste() -> None:
    assert pings(Limits(), *range(20), sent=tuple(range(0, 20, 2))) == 20


def test_memory_is_taken_and_given_back() -> None:
    budget = ReceiveBudget(100)
    budget.change(60)
    with pytest.raises(ServingError, match="messages that are arriving take 60 bytes"):
        budget.change(41)
    budget.change(40)
    budget.change(-70)
    budget.change(70)
    ReceiveBudget(None).change(10**12)
