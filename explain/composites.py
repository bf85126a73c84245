"""Composites: which rule for which layer."""

import fnmatch
from collections.abc import Collection
from dataclasses import dataclass
from typing import final

from explain.errors import CompositeError
from explain.rules import Rule

KINDS = frozenset({"dense", "convolution", "recurrent"})
ATTENTION_MODES = ("gate", "uniform")
STRUCTURE_MODES = ("gate", "share")


@final
@dataclass(frozen=True)
class WeightedLayer:
    """What a composite tells a layer with weights by: an operation with a kernel, or a call of a recurrent layer.

    Args:
        name: The name of the layer that holds the weights.
        kind: `dense`, `convolution` or `recurrent`.
        names: Its name and those of the layers and models that it lies in.
        types: The class names of all these, and the type of the operation.
        position: Its place among all, in the order of execution, from 0.
        from_end: The same from the end: -1 is the last.
        first: No layer with weights lies between it and the inputs.
        last: No layer with weights lies between it and the outputs.
    """

    name: str
    kind: str
    names: frozenset[str]
    types: frozenset[str]
    position: int
    from_end: int
    first: bool
    last: bool


@final
@dataclass(frozen=True)
class Assignment:
    """A rule for the layers that match; everything given must match.

    Args:
        rule: The rule.
        kinds: Kinds of layer, `dense`, `convolution`, `recurrent`; empty for any.
        layers: Patterns of layer names, as in `block?_*`, of the layer or one that it lies in; empty for any.
        types: Class names of layers, as in `Conv2D`, of the layer or one that it lies in (`MultiHeadAttention`), or
            types of TensorFlow's operations; empty for any.
        first: True for layers with weights that no other lies below, one on each branch, only.
        last: True for layers with weights that no other lies above, only.
        position: The place among the layers with weights, in the order of execution: 0 is the first, -1 the last. A
            layer that is called twice, or has two kernels (`SeparableConv2D`), has two places. None for any.
    """

    rule: Rule
    kinds: frozenset[str] = frozenset()
    layers: tuple[str, ...] = ()
    types: tuple[str, ...] = ()
    first: bool = False
    last: bool = False
    position: int | None = None

    def matches(self, layer: WeightedLayer) -> bool:
        """The layer is one of those meant."""
        return (
            (not self.kinds or layer.kind in self.kinds)
            and (not self.layers or any(fnmatch.filter(layer.names, pattern) for pattern in self.layers))
            and (not self.types or not layer.types.isdisjoint(self.types))
            and (layer.first or not self.first)
            and (layer.last or not self.last)
            and (self.position is None or self.position in (layer.position, layer.from_end))
        )

    @property
    def conditions(self) -> dict[str, object]:
        """What a layer must have to match, as far as it is given."""
        every: dict[str, object] = {"kinds": sorted(self.kinds), "layers": self.layers, "types": self.types}
        every |= {"first": self.first or None, "last": self.last or None, "position": self.position}
        return {name: value for name, value in every.items() if value is not None and value not in ([], ())}


@final
@dataclass(frozen=True)
class Composite:
    """Assigns rules to layers; the first assignment that matches wins.

    Args:
        name: What the manifest calls it.
        assignments: In order of precedence.
        bias: What becomes of biases outside of any layer with weights.
        attention: `gate` or `uniform`, see `explain.operations.product`.
        reason: Why it was chosen, where it was chosen and not asked for.
        structure: `gate` (relevance stays on a graph's nodes) or `share` (its adjacency and the weights of its edges,
            where they are inputs, take half of each product), see `explain.operations.gates`.
        stabilizer: Of sums, means and products without weights; None: 1e-6, as zennit has it.
        for_any_model: An assignment may match no layer: named composites are written for models of every kind.
    """

    name: str
    assignments: tuple[Assignment, ...]
    bias: str = "absorb"
    attention: str = "gate"
    reason: str = ""
    structure: str = "gate"
    stabilizer: float | None = None
    for_any_model: bool = False

    def rule(self, layer: WeightedLayer) -> Rule:
        """The rule for a layer.

        Raises:
            CompositeError: No assignment matches.
        """
        for assignment in self.assignments:
            if assignment.matches(layer):
                return assignment.rule
        raise CompositeError(
            f"Composite '{self.name}' has no rule for layer '{layer.name}' ({layer.kind}). "
            "Add an assignment that matches any layer."
        )

    def check_layers(self, layers: Collection[WeightedLayer]) -> None:
        """Refuses what matches none of a model's layers with weights: an assignment, or one of its names or types.

        Raises:
            CompositeError: The layers that there are are named.
        """
        if self.for_any_model:
            return
        names = frozenset().union(*(layer.names for layer in layers))
        types = frozenset().union(*(layer.types for layer in layers))
        for assignment in filter(lambda each: each.conditions, self.assignments):
            unknown = [pattern for pattern in assignment.layers if not fnmatch.filter(names, pattern)]
            unknown += [name for name in assignment.types if name not in types]
            if unknown or not any(assignment.matches(layer) for layer in layers):
                asked = ", ".join(f"{name} = {value!r}" for name, value in assignment.conditions.items())
                raise CompositeError(
                    f"Composite '{self.name}' has rule '{assignment.rule.name}' for {asked}, and "
                    f"{f'nothing is called {unknown[0]!r}' if unknown else 'nothing is all that'} among the layers "
                    f"with weights (others have one rule of their own): {_listed(layers)}."
                )


def _listed(layers: Collection[WeightedLayer]) -> str:
    """Each layer's name and types."""
    return ", ".join(f"{layer.name} ({', '.join(sorted(layer.types))})" for layer in layers) or "none"
