"""When a connection is asked whether it lives, and when it has lived long enough."""

import enum
import random

from serving.grpc.http2.limits import Limits

# How long a client may take to answer that it has read the first GOAWAY.
_NOTICE_S = 1.0
# Connections that were opened together don't end together.
_JITTER = 0.1


class Step(enum.Enum):
    """What is to be done about a connection."""

    PING = "ping"
    DRAIN_AGED = "max_age"
    DRAIN_IDLE = "max_idle"
    STOP_OPENING = "stop opening"
    END = "end"


class Lifetime:
    """The times of one connection, in seconds of the loop's clock.

    Args:
        limits: How long everything may take.
        now: When it was opened.

    Attributes:
        received_at: When the last bytes came.
        idle_since: When the last call ended.
        has_stopped_opening: Whether the client knows which calls are still answered.
    """

    def __init__(self, limits: Limits, now: float) -> None:
        self._limits = limits
        self._dies_at = now + limits.max_age_s * random.uniform(1 - _JITTER, 1 + _JITTER)  # noqa: S311 -- no secret
        self.received_at = self.idle_since = now
        self._pinged_at: float | None = None
        self._draining_since: float | None = None
        self.has_stopped_opening = False
        self._ends_at = float("inf")

    @property
    def is_draining(self) -> bool:
        """Whether the client was told to open no more calls."""
        return self._draining_since is not None

    def drain(self, now: float, *, grace_s: float | None = None) -> None:
        """The client was told to open no more calls.

        Args:
            now: The loop's time.
            grace_s: How long those that are open may go on; None: as long as they take.
        """
        self._draining_since = now
        if grace_s is not None:
            self._ends_at = now + grace_s

    def stop_opening(self) -> None:
        """The client is told which calls are still answered."""
        self.has_stopped_opening = True

    def due(self, now: float, *, num_calls: int) -> Step | None:
        """What is to be done now, if anything."""
        if self._draining_since is None:
            if now >= self._dies_at:
                return Step.DRAIN_AGED
            if not num_calls and now - self.idle_since >= self._limits.max_idle_s:
                return Step.DRAIN_IDLE
        elif now >= self._ends_at:
            return Step.END
        elif not self.has_stopped_opening and now - self._draining_since >= _NOTICE_S:
            return Step.STOP_OPENING
        return self._keepalive(now, num_calls=num_calls)

    def _keepalive(self, now: float, *, num_calls: int) -> Step | None:
        if self._pinged_at is not None:
            if self.received_at < self._pinged_at:
                return Step.END if now - self._pinged_at >= self._limits.keepalive_timeout_s else None
            self._pinged_at = None
        if not num_calls and not self._limits.keepalive_without_calls:
            return None
        if now - self.received_at < self._limits.keepalive_time_s:
            return None
        self._pinged_at = now
        return Step.PING
