"""Parity: every format of a bundle computes the same, element by element, and finite values.

Each value x of a format is held against the reference's value r: |x - r| <= tolerance * scale, where scale is the
largest magnitude of that output over the examples of one kind. Sums are not compared: a relevance that comes out in the
wrong order has the right sum.

Where rounding moves an explanation further than that (see `export.conditioning`), the tolerance of the example is as
wide as rounding moves it, but never wider than `WIDEST`, and the report says so. What rounding moves even further, as
where two maxima of a pooling window are equal but for rounding, is counted and left out: a small part of all elements.
"""

import dataclasses
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from export.conditioning import Rounding, per_example
from export.errors import ParityError
from export.manifest import EXPLAIN_SIGNATURE, EXPLAIN_TARGET_SIGNATURE, PREDICT_SIGNATURE
from export.runners import Arrays, Probe, Runner
from export.samples import Samples
from export.saved_model import PREDICTED_CLASS, TARGET

PREDICTION_TOLERANCE = 1e-5
RELEVANCE_TOLERANCE = 1e-4  # float32 against float64: the stabilizer amplifies rounding where sums nearly cancel
FORMAT_TOLERANCE = 1e-5  # one float32 graph against the other
WIDEST = 1e-2  # what rounding may widen a tolerance to: a wrong program is further off

# Magnitudes below this don't count as an output's scale: saturated sigmoids leave values that no runtime agrees on.
_SMALLEST_SCALE = 1e-7

GAP = "conservation_gap"
_EXPLAINED = "explained_value"
_RELEVANCE = "relevance"
_COUNTS = ("at_a_jump", "examples", "left_out", "elements")
# How many elements may be left out. An output of one value an example, as the gap, is left out with the example.
_MOST_ELEMENTS, _MOST_EXAMPLES = 0.1, 0.5
_SEED = 20260102
_MAX_REPORTED = 5


@dataclass(frozen=True)
class Case:
    """One call of a signature."""

    signature: str
    inputs: dict[str, np.ndarray]
    kind: str


@dataclass(frozen=True)
class Comparison:
    """The largest difference that one output showed between two that compute it.

    Args:
        signature, output: What was compared.
        left, right: Who computed it.
        difference: The largest absolute difference of an element, at the case where it is largest against its scale.
        scale: The largest magnitude there.
        relative: difference / scale.
        tolerance: What `relative` may be where rounding doesn't widen it.
        rounding: What it was widened to at most; 0 where it never was.
        at_a_jump: Number of examples of which elements were left out because rounding moves them further than `WIDEST`.
        examples: Number of examples.
        left_out: Number of these elements.
        elements: Number of elements.
    """

    signature: str
    output: str
    left: str
    right: str
    difference: float
    scale: float
    relative: float
    tolerance: float
    rounding: float = 0.0
    at_a_jump: int = 0
    examples: int = 0
    left_out: int = 0
    elements: int = 0


@dataclass(frozen=True)
class ParityReport:
    """What was compared, and how far apart it was at most."""

    samples: str
    reference: str
    cases: int
    comparisons: tuple[Comparison, ...] = field(default_factory=tuple)

    def to_dict(self) -> dict[str, Any]:
        """Ready for JSON."""
        return dataclasses.asdict(self)


def make_cases(samples: Samples, num_targets: int | None) -> list[Case]:
    """The calls to compare: each batch whole and its first example alone, explained for several targets.

    Args:
        samples: Representative inputs.
        num_targets: Number of targets, or None where there are no explain signatures.
    """
    cases = []
    for batch in samples.batches:
        for part in batch.parts:
            cases.append(Case(PREDICT_SIGNATURE, part.inputs, part.kind))
            if num_targets is not None:
                cases.append(Case(EXPLAIN_SIGNATURE, part.inputs, part.kind))
                inputs = {**part.inputs, TARGET: _targets(part.rows, num_targets)}
                cases.append(Case(EXPLAIN_TARGET_SIGNATURE, inputs, part.kind))
    return cases


def compare(
    cases: Sequence[Case],
    reference: Runner,
    formats: Sequence[Runner],
    *,
    samples: str,
    explanation_tolerance: float = RELEVANCE_TOLERANCE,
    probe: Probe | None = None,
) -> ParityReport:
    """Run all cases everywhere; each format against the reference, and the formats against one another.

    Args:
        cases: The calls.
        reference: What the formats are held against; its relevance may be in double precision.
        formats: Those under test.
        samples: Where the inputs come from, for the report.
        explanation_tolerance: How far what an explanation adds to the predictions may be from the reference.
        probe: Tells which examples are at a jump; None holds all examples to the tolerances.

    Raises:
        ParityError: An output is missing, of another dtype or shape, not finite, or further off than its tolerance.
    """
    ledger = _Ledger(probe)
    for group in _by_kind(cases):
        references = [reference.run(case.signature, case.inputs) for case in group]
        for case, outputs in zip(group, references, strict=True):
            _check_finite(case, reference.name, outputs)
        scales = _scales(group, references)
        for case, expected in zip(group, references, strict=True):
            computed = [(reference.name, expected)] + [(f.name, _run(f, case, expected)) for f in formats]
            for (left, a), (right, b) in _pairs(computed):
                for output in expected:
                    tolerance = _tolerance(output, explanation_tolerance, with_reference=left == reference.name)
                    ledger.compare(
                        _Pair(case, output, left, right, scales[case.signature, output], tolerance),
                        a[output],
                        b[output],
                    )
    return ParityReport(samples, reference.name, len(cases), ledger.close())


def _targets(rows: int, num_targets: int) -> np.ndarray:
    """The last target, the predicted class (for several rows), and any for the rest."""
    targets = np.random.default_rng(_SEED).integers(PREDICTED_CLASS, num_targets, rows).astype(np.int32)
    targets[0] = num_targets - 1
    targets[1:2] = PREDICTED_CLASS
    return targets


def _by_kind(cases: Sequence[Case]) -> Iterable[list[Case]]:
    """Cases whose inputs have one scale are judged by one scale."""
    groups: dict[str, list[Case]] = {}
    for case in cases:
        groups.setdefault(case.kind, []).append(case)
    return groups.values()


def _run(runner: Runner, case: Case, expected: Arrays) -> dict[str, np.ndarray]:
    outputs = runner.run(case.signature, case.inputs)
    if outputs.keys() != expected.keys():
        raise ParityError(
            f"{runner.name}: signature {case.signature!r} must have the outputs {sorted(expected)}. Received: "
            f"{sorted(outputs)}."
        )
    _check_finite(case, runner.name, outputs)
    return outputs


def _check_finite(case: Case, runner: str, outputs: Arrays) -> None:
    for name, values in outputs.items():
        if not np.issubdtype(values.dtype, np.floating):
            continue
        finite = np.isfinite(values)
        if not finite.all():
            index = tuple(int(i) for i in np.argwhere(~finite)[0])
            raise ParityError(
                f"Every output must be finite. {runner}: output {name!r} of signature {case.signature!r} is "
                f"{values[index]} at index {list(index)} on {case.kind} inputs. If the model is not made for such "
                "inputs, give real ones (`--samples FILE.npz`)."
            )


def _scales(group: Sequence[Case], references: Sequence[Arrays]) -> dict[tuple[str, str], float]:
    scales: dict[tuple[str, str], float] = {}
    for case, outputs in zip(group, references, strict=True):
        for name, values in outputs.items():
            key = (case.signature, name)
            scales[key] = max(scales.get(key, 0.0), _scale(name, values, outputs))
    return scales


def _scale(name: str, values: np.ndarray, outputs: Arrays) -> float:
    """Largest magnitude; for the gap, that of the value and the sums whose difference it is."""
    if not values.size or not np.issubdtype(values.dtype, np.number):
        return 0.0
    scale = float(np.abs(values).max())
    if name == GAP:
        sums = [np.abs(relevance).reshape(len(relevance), -1).sum(axis=1).max() for relevance in _relevance(outputs)]
        scale = max(scale, float(np.abs(outputs[_EXPLAINED]).max()), *(float(total) for total in sums))
    return scale


def _relevance(outputs: Arrays) -> list[np.ndarray]:
    """Relevance of the inputs; that of inner layers has sums of its own."""
    inner = f"{_RELEVANCE}_at_"
    return [
        values
        for name, values in outputs.items()
        if name == _RELEVANCE or (name.startswith(f"{_RELEVANCE}_") and not name.startswith(inner))
    ]


def _pairs(computed: Sequence[tuple[str, Arrays]]) -> Iterable[tuple[tuple[str, Arrays], tuple[str, Arrays]]]:
    for i, left in enumerate(computed):
        for right in computed[i + 1 :]:
            yield left, right


def _tolerance(output: str, explanation_tolerance: float, *, with_reference: bool) -> float:
    if not with_reference:
        return FORMAT_TOLERANCE
    explanation = output in (GAP, _EXPLAINED, _RELEVANCE) or output.startswith(f"{_RELEVANCE}_")
    return explanation_tolerance if explanation else PREDICTION_TOLERANCE


@dataclass(frozen=True)
class _Pair:
    """What two programs computed of one case."""

    case: Case
    output: str
    left: str
    right: str
    scale: float
    tolerance: float

    @property
    def what(self) -> str:
        return f"{self.case.signature}: {self.output!r} on {self.case.kind} inputs: {self.left} and {self.right}"

    @property
    def unit(self) -> float:
        """What differences are parts of."""
        return max(self.scale, _SMALLEST_SCALE)

    def comparison(self, difference: float, rounding: float = 0.0, **counts: int) -> Comparison:
        return Comparison(
            self.case.signature, self.output, self.left, self.right,
            difference, self.scale, difference / self.unit, self.tolerance, rounding, **counts,
        )  # fmt: skip


class _Ledger:
    """Collects the worst comparison of every output and pair, and what was wrong."""

    def __init__(self, probe: Probe | None) -> None:
        self._probe = probe
        self._worst: dict[tuple[str, str, str, str], Comparison] = {}
        self._faults: list[str] = []
        self._probed: tuple[Case, Rounding] | None = None

    def compare(self, pair: _Pair, a: np.ndarray, b: np.ndarray) -> None:
        """Enter what one pair computed of one output."""
        if a.shape != b.shape or _family(a) != _family(b):
            self._faults.append(f"{pair.what}: {a.dtype}{list(a.shape)} against {b.dtype}{list(b.shape)}")
        elif np.issubdtype(a.dtype, np.floating):
            self._compare_floating(pair, a, b)
        else:
            self._compare_exactly(pair, a, b)

    def close(self) -> tuple[Comparison, ...]:
        """The worst comparisons.

        Raises:
            ParityError: Something was wrong.
        """
        for worst in self._worst.values():
            most = _MOST_EXAMPLES if worst.elements == worst.examples else _MOST_ELEMENTS
            if worst.left_out > most * worst.elements:
                self._faults.append(
                    f"{worst.signature}: {worst.output!r}: {worst.left} and {worst.right}: rounding decides "
                    f"{worst.left_out} of {worst.elements} elements, in {worst.at_a_jump} of {worst.examples} "
                    "examples, which leaves too few to compare"
                )
        if self._faults:
            shown = "\n  ".join(self._faults[:_MAX_REPORTED])
            more = len(self._faults) - _MAX_REPORTED
            raise ParityError(
                "The formats of the bundle must compute the same, element by element. They differ:\n  "
                f"{shown}{f'{chr(10)}  and {more} more' if more > 0 else ''}"
            )
        return tuple(self._worst.values())

    def _compare_floating(self, pair: _Pair, a: np.ndarray, b: np.ndarray) -> None:
        differences = np.abs(a.astype(np.float64) - b.astype(np.float64))
        if not differences.ndim:
            differences = differences[None]
        limits = np.full(len(differences), pair.tolerance * pair.unit)
        explained = np.zeros(len(differences))
        worst = per_example(differences)
        if (worst > limits).any() and self._probe is not None:
            explained = self._rounding(pair.case, self._probe).explains(pair.output, np.where(worst > limits, worst, 0))
        widened = np.clip(explained, limits, max(WIDEST, pair.tolerance) * pair.unit)
        jumps = (worst > widened) & (worst <= explained)
        beyond = differences > _along_examples(widened, differences)
        left_out = beyond & _along_examples(jumps, differences)
        counted = np.where(left_out, 0.0, differences)
        used = widened[(worst > limits) & (widened > limits)].max(initial=0.0)
        counts = {"at_a_jump": int(jumps.sum()), "examples": len(jumps)}
        counts |= {"left_out": int(left_out.sum()), "elements": differences.size}
        self._enter(pair.comparison(float(counted.max(initial=0.0)), float(used) / pair.unit, **counts))
        faulty = np.where(beyond, counted, 0.0)
        if faulty.any():
            index = tuple(int(i) for i in np.unravel_index(int(faulty.argmax()), faulty.shape))
            self._faults.append(
                f"{pair.what}: {a[index]!s} against {b[index]!s} at index {list(index)}: "
                f"{counted[index] / pair.scale:.1e} of the largest magnitude {pair.scale:.4g}, tolerance "
                f"{widened[index[0]] / pair.unit:.0e}"
            )

    def _rounding(self, case: Case, probe: Probe) -> Rounding:
        """Kept for one case: it takes several runs."""
        if self._probed is None or self._probed[0] is not case:
            self._probed = (case, Rounding(probe, case.signature, case.inputs))
        return self._probed[1]

    def _compare_exactly(self, pair: _Pair, a: np.ndarray, b: np.ndarray) -> None:
        different = np.argwhere(a != b)
        self._enter(
            replace(pair.comparison(float(len(different))), scale=1.0, relative=float(len(different)), tolerance=0.0)
        )
        if len(different):
            index = tuple(int(i) for i in different[0])
            self._faults.append(f"{pair.what}: {a[index]!s} against {b[index]!s} at index {list(index)}")

    def _enter(self, comparison: Comparison) -> None:
        key = (comparison.signature, comparison.output, comparison.left, comparison.right)
        before = self._worst.get(key)
        if before is None:
            self._worst[key] = comparison
            return
        worse = comparison if comparison.relative > before.relative else before
        counts = {name: getattr(before, name) + getattr(comparison, name) for name in _COUNTS}
        self._worst[key] = replace(worse, rounding=max(before.rounding, comparison.rounding), **counts)


def _along_examples(values: np.ndarray, like: np.ndarray) -> np.ndarray:
    """One value an example, `(batch,)`, in a form that broadcasts over the elements of the examples."""
    return values.reshape(-1, *[1] * (like.ndim - 1))


def _family(values: np.ndarray) -> str:
    """The reference may be in another precision: only the kind of number has to agree."""
    if np.issubdtype(values.dtype, np.floating):
        return "floating"
    return "string" if values.dtype.kind in "OSU" else str(values.dtype)
