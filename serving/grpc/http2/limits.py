"""What a connection may take, and how a client that wastes it is found out."""

from dataclasses import dataclass

from serving.errors import Code, ServingError
from serving.grpc.http2.errors import enhance_your_calm
from serving.grpc.http2.frames import MIN_FRAME_BYTES

NEVER_S = float("inf")

_MOST_WASTE = 4000
_WASTE_PER_S = 1000.0
_PING_INTERVAL_IDLE_S = 7200.0


@dataclass(frozen=True)
class Limits:
    """Bounds of a server and of each of its connections. The defaults are grpcio's where it has one.

    Args:
        max_receive_bytes: Size of a message, as sent and decompressed; None: no limit.
        max_send_bytes: Size of a reply; None: no limit.
        max_connections: Open at once; 0: no limit.
        max_concurrent_streams: Calls of a connection at once; grpcio has no limit.
        max_metadata_bytes: Headers of a call, as HTTP/2 counts them.
        max_frame_bytes: Payload of a frame.
        stream_window_bytes: What a client may send on a stream before it is told to go on.
        connection_window_bytes: The same for all streams of a connection.
        stall_timeout_s: How long a request may stop arriving, or a client not take its answer.
        max_idle_s: How long a connection may stay open without a call.
        max_age_s: How long a connection may stay open at all.
        max_age_grace_s: How long calls may go on after that.
        keepalive_time_s: How long a connection may be silent before it is asked whether it lives.
        keepalive_timeout_s: How long it may take to answer that.
        keepalive_without_calls: Whether it is asked, and may ask, while there is no call.
        min_ping_interval_s: How often a client may ask, while it is sent nothing.
        max_ping_strikes: How many times it may ask more often; 0: any number.
    """

    max_receive_bytes: int | None = 4 << 20
    max_send_bytes: int | None = None
    max_connections: int = 0
    max_concurrent_streams: int = 1000
    max_metadata_bytes: int = 16 << 10
    max_frame_bytes: int = MIN_FRAME_BYTES
    stream_window_bytes: int = 4 << 20
    connection_window_bytes: int = 16 << 20
    stall_timeout_s: float = 30.0
    max_idle_s: float = NEVER_S
    max_age_s: float = NEVER_S
    max_age_grace_s: float = NEVER_S
    keepalive_time_s: float = 7200.0
    keepalive_timeout_s: float = 20.0
    keepalive_without_calls: bool = False
    min_ping_interval_s: float = 300.0
    max_ping_strikes: int = 2


class Allowance:
    """What a client may waste: frames that ask for nothing, calls that it takes back. Useful calls earn it back."""

    def __init__(self) -> None:
        self._left = float(_MOST_WASTE)
        self._earned_at = 0.0

    def spend(self, now: float, what: str) -> None:
        """Counts something wasted.

        Args:
            now: The loop's time.
            what: What it was, for the client.

        Raises:
            Http2ConnectionError: Too much was.
        """
        if self._left < 1:
            self._left = min(_MOST_WASTE, self._left + (now - self._earned_at) * _WASTE_PER_S)
            self._earned_at = now
        if self._left < 1:
            raise enhance_your_calm(f"Too many {what}.")
        self._left -= 1

    def earn(self) -> None:
        """Counts a call that was answered."""
        if self._left < _MOST_WASTE:
            self._left += 1


class PingPolice:
    """Counts pings that come more often than they may, as grpcio does.

    Args:
        limits: How often they may.
    """

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._last = -NEVER_S
        self._strikes = 0
        self._num_sent = 0

    def check(self, now: float, *, num_sent: int, idle: bool) -> None:
        """Counts a ping; one after something was sent is a fair way to measure how long that took.

        Args:
            now: The loop's time.
            num_sent: Frames of calls that were sent so far.
            idle: Whether there is no call.

        Raises:
            Http2ConnectionError: Too many came too soon.
        """
        alone = idle and not self._limits.keepalive_without_calls
        interval_s = _PING_INTERVAL_IDLE_S if alone else self._limits.min_ping_interval_s
        too_soon, self._last = now < self._last + interval_s, now
        if num_sent != self._num_sent:
            self._num_sent, self._strikes = num_sent, 0
        elif too_soon and self._limits.max_ping_strikes:
            self._strikes += 1
            if self._strikes > self._limits.max_ping_strikes:
                raise enhance_your_calm("too_many_pings")


class ReceiveBudget:
    """Memory for messages that are arriving or wait to be read, on all connections together.

    Args:
        max_bytes: How much there is; None: no limit.
    """

    def __init__(self, max_bytes: int | None) -> None:
        self._max_bytes = max_bytes
        self._used = 0

    def change(self, by_bytes: int) -> None:
        """Takes memory, or gives it back where it is negative.

        Raises:
            ServingError: RESOURCE_EXHAUSTED, and nothing was taken.
        """
        if by_bytes > 0 and self._max_bytes is not None and self._used + by_bytes > self._max_bytes:
            raise ServingError(
                Code.RESOURCE_EXHAUSTED,
                f"The server is full: messages that are arriving take {self._used} bytes. Send this one later.",
            )
        self._used += by_bytes
