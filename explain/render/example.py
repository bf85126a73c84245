"""What is drawn: one explained input, what kind of picture it gets, and the lines above it."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

KINDS = ("image", "bars", "text", "series", "graph")
_IMAGE_CHANNELS = (1, 3, 4)


@dataclass(frozen=True)
class Edges:
    """The edges of a graph.

    Args:
        pairs: `(edges, 2) int`, the nodes that each joins.
        relevance: `(edges,)`, where edges have relevance of their own.
    """

    pairs: np.ndarray
    relevance: np.ndarray | None = None


@dataclass(frozen=True)
class Example:
    """One explained input.

    Args:
        values: The input as the model received it, without the batch axis, any numeric dtype: `(height, width)` or
            `(height, width, channels)` of an image, `(features,)` of a row, `(length,)` of a text, `(time,)` or
            `(time, channels)` of a series, `(nodes, features)` of a graph. None where only the relevance is known.
        relevance: The relevance of each element, in the shape of `values`; of an inner `layer` in any shape.
        title: What stands above the picture, one line or several.
        names: Names of the features of a row, the tokens of a text, the channels of a series, or the nodes of a graph;
            numbered when empty.
        kind: One of `KINDS`; by the shape when empty.
        unit: What relevance is measured in, as in "logit".
        limit: The amount of full colour, and the end of the bars' scale; the largest amount by default.
        edges: The edges of a graph.
        layer: The inner layer that the relevance belongs to; the input itself when empty.
    """

    values: np.ndarray | None
    relevance: np.ndarray
    title: str = ""
    names: Sequence[str] = ()
    kind: str = ""
    unit: str = ""
    limit: float | None = None
    edges: Edges | None = None
    layer: str = ""

    def __post_init__(self) -> None:
        if self.kind and self.kind not in KINDS:
            raise ValueError(f"`kind` must be one of {', '.join(KINDS)}. Received: kind={self.kind!r}")
        if self.values is not None and not self.layer and self.values.shape != self.relevance.shape:
            raise ValueError(
                "`relevance` must have the shape of `values`, one number for each element of the input. "
                f"Received: values of shape {self.values.shape}, relevance of shape {self.relevance.shape}"
            )
        if self.names and len(self.names) not in {self.relevance.size, *self.relevance.shape}:
            raise ValueError(
                "`names` must name each element of the input, or each place along one of its axes. "
                f"Received: {len(self.names)} names for relevance of shape {self.relevance.shape}"
            )

    @property
    def full(self) -> float:
        """The amount of full colour: `limit`, or the largest amount that is drawn."""
        return self.limit if self.limit is not None else largest(self)


def is_image(shape: tuple[int, ...]) -> bool:
    """Whether an input of this shape (without the batch axis) is drawn as an image.

    Without a channel axis it has to be square: `(time, channels)` of a series rarely is.
    """
    if len(shape) == 2:
        return shape[0] == shape[1] >= 2
    return len(shape) == 3 and min(shape[:2]) >= 2 and shape[2] in _IMAGE_CHANNELS


def kind_of(shape: tuple[int, ...]) -> str:
    """The kind of picture that an input of this shape (without the batch axis) gets, unless another is asked for."""
    if is_image(shape):
        return "image"
    return "series" if len(shape) == 2 and shape[0] >= 2 else "bars"


def drawn_as(example: Example) -> str:
    """The kind of picture that the example gets."""
    return example.kind or kind_of(example.relevance.shape)


def plane(relevance: np.ndarray) -> np.ndarray:
    """Relevance of an image's pixels, `(height, width) float64`: channels summed."""
    values = np.asarray(relevance, np.float64)
    return values.sum(axis=2) if values.ndim == 3 else values


def node_relevance(relevance: np.ndarray) -> np.ndarray:
    """Relevance of a graph's nodes, `(nodes,) float64`: features summed."""
    return np.asarray(relevance, np.float64).reshape(len(relevance), -1).sum(axis=1)


def largest(example: Example) -> float:
    """The largest amount that the picture of an example shows."""
    kind, shown = drawn_as(example), np.asarray(example.relevance, np.float64)
    if kind == "image":
        shown = plane(shown)
    if kind == "graph":
        shown = node_relevance(shown)
        if example.edges is not None and example.edges.relevance is not None:
            shown = np.concatenate([shown, np.asarray(example.edges.relevance, np.float64).ravel()])
    return float(np.max(np.abs(shown), initial=0.0))


def title(
    predicted: str,
    probability: float | None = None,
    *,
    true: str | None = None,
    gap: float | None = None,
    explained: str | None = None,
    value: float | None = None,
    unit: str = "",
) -> str:
    """The lines above a picture, as in "why 3: 9.12 logit, gap 0.02" over "predicted 3 (99.1 %), true 3".

    Args:
        predicted: Label of the predicted class, or the predicted value; empty leaves it out.
        probability: Probability of the prediction in [0, 1], where the model gives one.
        true: The true label, where it is known.
        gap: Explained value minus the sum of relevance.
        explained: What is explained: a class, one class against another, or the output of a regression.
        value: Its explained value.
        unit: The unit of value and gap.

    Returns:
        One line, or two where `explained` is given and there is more to say.
    """
    amounts = [] if value is None else [f"{value:.3g}{f' {unit}' if unit else ''}"]
    amounts += [] if gap is None else [f"gap {gap:.2g}"]
    reading = [f"predicted {predicted}" + ("" if probability is None else f" ({100 * probability:.1f} %)")]
    reading = (reading if predicted else []) + ([] if true is None else [f"true {true}"])
    if explained is None:
        return ", ".join(reading + amounts)
    lines = [f"why {explained}" + (f": {', '.join(amounts)}" if amounts else ""), ", ".join(reading)]
    return "\n".join(line for line in lines if line)
