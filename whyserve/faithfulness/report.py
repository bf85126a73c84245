"""What an evaluation found: curves, areas with their standard errors, and how attributions compare."""

import math
from dataclasses import dataclass, field

import numpy as np

RELEVANCE, RANDOM, GRADIENT = "relevance", "random", "gradient x input"
DELETION, INSERTION = "deletion", "insertion"


@dataclass(frozen=True)
class Measured:
    """One curve of one attribution over the examples.

    Args:
        curve: The mean score at each point.
        curve_error: Its standard error.
        areas: The area under each example's curve.
    """

    curve: tuple[float, ...]
    curve_error: tuple[float, ...]
    areas: tuple[float, ...]

    @property
    def area(self) -> float:
        """The mean area."""
        return float(np.mean(self.areas))

    @property
    def error(self) -> float:
        """Standard error of the mean area over the examples; NaN for a single one."""
        return standard_error(np.asarray(self.areas))


@dataclass(frozen=True)
class Report:
    """All curves of a bundle on a data set.

    Args:
        name, version: The bundle.
        composite: Which rules its relevance comes from.
        data: The data set or file.
        examples: Number of examples.
        elements: Number of elements of an example, e.g. pixels.
        baseline: What stands for an absent element.
        region: Side of the regions of images, in pixels.
        seed: Of the choice of examples, of random attributions and of the order of equal ones.
        random_seeds: How many random attributions were averaged for each example.
        fractions: The part of the elements that is gone, or in, at each point.
        measured: By attribution and curve.
        notes: What could not be measured, and why.
    """

    name: str
    version: int | None
    composite: str
    data: str
    examples: int
    elements: int
    baseline: str
    region: int
    seed: int
    random_seeds: int
    fractions: tuple[float, ...]
    measured: dict[str, dict[str, Measured]] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def advantage(self, other: str, kind: str) -> tuple[float, float]:
        """By how much the bundle's relevance is better than another attribution, example by example, and its error.

        Args:
            other: The other attribution.
            kind: `deletion`, where a smaller area is better, or `insertion`, where a larger one is.

        Returns:
            The mean of the paired differences, positive where the relevance is better, and its standard error.
        """
        own, others = (np.asarray(self.measured[which][kind].areas) for which in (RELEVANCE, other))
        difference = others - own if kind == DELETION else own - others
        return float(difference.mean()), standard_error(difference)


def measure(curves: np.ndarray, areas: np.ndarray) -> Measured:
    """Means and errors of `(examples, points)` curves and `(examples,)` areas."""
    errors = [standard_error(column) for column in curves.T]
    return Measured(tuple(curves.mean(axis=0).tolist()), tuple(errors), tuple(areas.tolist()))


def standard_error(values: np.ndarray) -> float:
    """Standard error of the mean of independent values."""
    return float(values.std(ddof=1) / math.sqrt(len(values))) if len(values) > 1 else math.nan
