"""Times of predict and explain in this process, in pairs: both feel the same disturbances, so their ratio is fair."""

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from serving.types import DEFAULT_SIGNATURE, EXPLAIN_SIGNATURE

WARMUP_S = 0.3
MIN_PAIRS = 10
MAX_PAIRS = 500


@dataclass(frozen=True)
class Spread:
    """Least, middle and largest of several measurements."""

    min: float
    median: float
    max: float

    @classmethod
    def of(cls, values: Sequence[float]) -> "Spread":
        """The spread of at least one value."""
        return cls(min(values), statistics.median(values), max(values))

    def __str__(self) -> str:
        return f"{self.median:.3g} ({self.min:.3g} to {self.max:.3g})"


@dataclass(frozen=True)
class InProcess:
    """What one engine takes for one batch, in milliseconds; `ratio` is that of each pair. None without explanations."""

    engine: str
    provider: str
    batch: int
    pairs: int
    predict_ms: Spread
    explain_ms: Spread | None
    ratio: Spread | None


def measure(model: Any, engine: str, inputs: Mapping[str, np.ndarray], *, budget_s: float) -> InProcess:
    """Runs predict and explain in turn, A B A B, after a warm-up.

    Args:
        model: A loaded model of any engine.
        engine: The engine's name.
        inputs: A batch.
        budget_s: Seconds to spend, the warm-up not counted; at least 10 pairs are run.

    Returns:
        The times.
    """
    predict = _call(model, DEFAULT_SIGNATURE, inputs)
    explain = _call(model, EXPLAIN_SIGNATURE, inputs) if EXPLAIN_SIGNATURE in model.signatures else None
    calls = [predict] if explain is None else [predict, explain]
    _repeat(calls, seconds=WARMUP_S)
    times = _repeat(calls, seconds=budget_s)
    predict_ms = [pair[0] for pair in times]
    explain_ms = [pair[1] for pair in times] if explain else []
    return InProcess(
        engine=engine,
        provider=model.provider,
        batch=len(next(iter(inputs.values()))),
        pairs=len(times),
        predict_ms=Spread.of(predict_ms),
        explain_ms=Spread.of(explain_ms) if explain else None,
        ratio=Spread.of([b / a for a, b in times]) if explain else None,
    )


def _call(model: Any, signature: str, inputs: Mapping[str, np.ndarray]) -> Callable[[], Any]:
    names = list(model.signatures[signature].outputs)
    return lambda: model.run(signature, inputs, names)


def _repeat(calls: Sequence[Callable[[], Any]], *, seconds: float) -> list[tuple[float, ...]]:
    """Milliseconds of each call, in rounds, until the time is spent."""
    rounds: list[tuple[float, ...]] = []
    end = time.perf_counter() + seconds
    while len(rounds) < MIN_PAIRS or (time.perf_counter() < end and len(rounds) < MAX_PAIRS):
        rounds.append(tuple(_timed(call) for call in calls))
    return rounds


def _timed(call: Callable[[], Any]) -> float:
    start = time.perf_counter()
    call()
    return 1000 * (time.perf_counter() - start)
