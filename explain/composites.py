"""Composites: which rule for which layer."""

import fnmatch
from collections.abc import Iterable
from dataclasses import dataclass
from typing import final

from explain.errors import CompositeError
from explain.rules import Rule

KINDS = frozenset({"dense", "convolution", "recurrent"})
ATTENTION_MODES = ("gate", "uniform")
STRUCTURE_MODES = ("gate", "share")


@final
@dataclass(frozen=True)
class Assignment:
    """A rule for the layers that match; everything given must match.

    Args:
        rule: The rule.
        kinds: Kinds of layer, `dense`, `convolution`, `recurrent`; empty for any.
        layers: Patterns of layer names, as in `block?_*`; empty for any.
        first: True for the first layer with weights above an input only.
    """

    rule: Rule
    kinds: frozenset[str] = frozenset()
    layers: tuple[str, ...] = ()
    first: bool = False

    def matches(self, *, kind: str, layer: str, first: bool) -> bool:
        """The layer is one of those meant."""
        return (
            (not self.kinds or kind in self.kinds)
            and (not self.layers or any(fnmatch.fnmatchcase(layer, pattern) for pattern in self.layers))
            and (first or not self.first)
        )


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
    """

    name: str
    assignments: tuple[Assignment, ...]
    bias: str = "absorb"
    attention: str = "gate"
    reason: str = ""
    structure: str = "gate"

    def rule(self, *, kind: str, layer: str, first: bool) -> Rule:
        """The rule for a layer.

        Raises:
            CompositeError: No assignment matches.
        """
        for assignment in self.assignments:
            if assignment.matches(kind=kind, layer=layer, first=first):
                return assignment.rule
        raise CompositeError(
            f"Composite '{self.name}' has no rule for layer '{layer}' ({kind}). "
            "Add an assignment that matches any layer."
        )

    def check_layers(self, layers: Iterable[str]) -> None:
        """Refuses patterns of layer names that match none of a model's layers with weights.

        Raises:
            CompositeError: A pattern matches nothing; the layers that there are are named.
        """
        names = sorted(set(layers))
        for pattern in (pattern for assignment in self.assignments for pattern in assignment.layers):
            if not fnmatch.filter(names, pattern):
                raise CompositeError(
                    f"Composite '{self.name}' has a rule for layers '{pattern}', and no layer with weights has such "
                    f"a name. Layers: {', '.join(names)}."
                )
