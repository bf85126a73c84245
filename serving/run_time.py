"""How long a run is expected to take, learned from the runs before it."""

_WEIGHT_OF_NEWEST = 0.3


class RunTime:
    """Expected run time by the size of a batch, as a moving average.

    Sizes are told apart by powers of two of the number of input elements: a batch of twice the rows, or of sequences
    twice as long, falls into another class. A size not seen yet is estimated from the nearest one: in proportion from
    a smaller one, no shorter than it from a larger one.
    """

    def __init__(self) -> None:
        self._seconds: dict[int, float] = {}
        self._cold: set[int] = set()

    def expected_s(self, num_elements: int) -> float:
        """The expected run time in seconds; infinite as long as nothing was observed."""
        size = num_elements.bit_length()
        seconds = self._seconds.get(size)
        return self._estimated_s(size) if seconds is None else seconds

    def observe(self, num_elements: int, seconds: float) -> None:
        """Takes a run into account. The first of a size is forgotten at the second: it paid for allocations."""
        size = num_elements.bit_length()
        before = self._seconds.get(size)
        if before is None:
            self._cold.add(size)
            self._seconds[size] = seconds
        elif size in self._cold:
            self._cold.remove(size)
            self._seconds[size] = seconds
        else:
            self._seconds[size] = before + _WEIGHT_OF_NEWEST * (seconds - before)

    def _estimated_s(self, size: int) -> float:
        smaller = max((known for known in self._seconds if known < size), default=None)
        if smaller is not None:
            return self._seconds[smaller] * 2.0 ** (size - smaller)
        larger = min(self._seconds, default=None)
        return float("inf") if larger is None else self._seconds[larger]
