"""Deletion and insertion: what becomes of a score when what was said to matter most is taken away, or put in, first.

Deletion is pixel flipping (Samek et al. 2017, "Evaluating the visualization of what a deep neural network has learned",
IEEE TNNLS 28(11)); both curves with the area under them as the measure are those of Petsiuk et al. 2018 ("RISE", BMVC).
With the elements of an input in falling order of their attribution and f the score of the explained class,

    deletion(q)  = f(the first q of the elements at the baseline)       a small area is good
    insertion(q) = f(all but the first q of the elements at the baseline)  a large area is good

for fractions q of the elements from 0 to 1; the area is the trapezoidal rule's over q. Elements of equal attribution
come in random order, so that no attribution gains from the order of the pixels.
"""

from collections.abc import Callable, Iterator

import numpy as np

from whyserve.faithfulness.elements import Arrays, Elements

# Scores of the explained targets of a batch, (batch,).
Score = Callable[[Arrays], np.ndarray]


def ranks(scores: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """The place of each element in falling order of its score, from 0.

    Args:
        scores: `(batch, elements)`.
        generator: Puts equal ones in order.

    Returns:
        `(batch, elements) int64`.
    """
    tie_breaks = generator.random(scores.shape)
    order = np.lexsort((tie_breaks, -scores), axis=1)
    places = np.empty_like(order)
    np.put_along_axis(places, order, np.arange(scores.shape[1])[None], axis=1)
    return places


def counts(num_elements: int, steps: int) -> np.ndarray:
    """How many elements are gone at each point of a curve, `(points,) int64`: 0, all, and about `steps` - 1 between."""
    return np.unique(np.round(np.linspace(0, num_elements, steps + 1)).astype(np.int64))


def perturbed(
    inputs: Arrays, elements: Elements, places: np.ndarray, at: np.ndarray, *, insertion: bool
) -> Iterator[dict[str, np.ndarray]]:
    """The inputs at each point of a curve.

    Args:
        inputs: Arrays, batch first.
        elements: What is replaced, by what.
        places: Of each element, from `ranks`.
        at: Numbers of elements, from `counts`.
        insertion: The first ones are put in rather than taken away.
    """
    for count in at:
        first = places < count
        yield elements.replaced(inputs, ~first if insertion else first)


def curve(score: Score, points: Iterator[Arrays]) -> np.ndarray:
    """The score at each point, `(batch, points)`."""
    return np.stack([score(inputs) for inputs in points], axis=1)


def area(curves: np.ndarray, at: np.ndarray) -> np.ndarray:
    """The area under each curve over the fraction of elements, `(batch,)`, by the trapezoidal rule.

    Args:
        curves: `(batch, points)`.
        at: Numbers of elements, from `counts`.
    """
    return np.asarray(np.trapezoid(curves, at / at[-1], axis=1))
