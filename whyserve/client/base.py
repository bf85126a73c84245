"""What every way of asking a model takes and gives."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from export.vocabulary import Vocabulary
from serving.types import TensorInfo

PREDICTED = -1

# A class by its index or its label.
Target = int | str
# One for all examples, or one for each; None where there is none.
Targets = Target | Sequence[Target] | None


@dataclass(frozen=True)
class ModelDescription:
    """A model as its metadata tells it: which version answers, its named inputs and outputs, its classes.

    What a server's metadata doesn't tell is empty: class labels, the output that is explained, the layers whose
    relevance is returned (with the outputs that hold it), the words of token ids.
    """

    name: str
    version: int | None
    inputs: Mapping[str, TensorInfo]
    outputs: Mapping[str, TensorInfo]
    class_labels: Sequence[str] = ()
    explained_output: str = ""
    layers: Mapping[str, str] = field(default_factory=dict)
    vocabulary: Vocabulary | None = None


@dataclass(frozen=True)
class Attribution:
    """Why one example got one score.

    Args:
        index: Index of the explained target.
        label: Its class label, or the index where the model names no classes.
        value: The explained score, before softmax or sigmoid.
        gap: `value` minus the sum of relevance, as the model reports it.
        relevance: Relevance by input name, each in the shape of one example.
        output: Name of the explained output; empty where it isn't known.
        contrast: The class that this one is compared with, by its label; empty where there is none. Value, gap and
            relevance are then those of this class less those of that.
        contrast_index: Its index.
        layers: Relevance at inner layers by their names, where the model was exported with such.
    """

    index: int
    label: str
    value: float
    gap: float
    relevance: Mapping[str, np.ndarray]
    output: str = ""
    contrast: str = ""
    contrast_index: int | None = None
    layers: Mapping[str, np.ndarray] = field(default_factory=dict)


@dataclass(frozen=True)
class Answer:
    """Outputs by name, batch first, and with `explain` one list of attributions for each example."""

    model: str
    version: int | None
    outputs: Mapping[str, np.ndarray]
    attributions: Sequence[Sequence[Attribution]] = field(default_factory=tuple)


class Client(Protocol):
    """One way of asking one model."""

    place: str
    """Where the answers come from, for people: a URL or a folder."""

    def describe(self) -> ModelDescription:
        """The model's metadata."""
        ...

    def predict(self, inputs: Mapping[str, np.ndarray]) -> Answer:
        """The model's outputs for a batch."""
        ...

    def explain(
        self, inputs: Mapping[str, np.ndarray], *, target: Targets = PREDICTED, contrast: Targets = None, top_k: int = 1
    ) -> Answer:
        """Outputs and attributions: of `target` (against `contrast`), or of the `top_k` highest scores."""
        ...

    def close(self) -> None:
        """Lets connections and models go."""
        ...


def label_of(index: int, class_labels: Sequence[str]) -> str:
    """The class's label, or its index where the model names no classes."""
    return class_labels[index] if 0 <= index < len(class_labels) else str(index)
