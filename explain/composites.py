"""Composites: which rule for which layer. Named and defined as zennit defines them (Anders et al. 2026)."""

import fnmatch
from collections.abc import Mapping
from dataclasses import dataclass
from typing import final

from explain.errors import CompositeError
from explain.rules import DEFAULT_EPSILON, Rule


@final
@dataclass(frozen=True)
class Assignment:
    """A rule for the layers that match; everything given must match.

    Args:
        rule: The rule.
        kinds: Kinds of layer, `dense`, `convolution`; empty for any.
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
        reason: Why it was chosen, where it was chosen and not asked for.
    """

    name: str
    assignments: tuple[Assignment, ...]
    bias: str = "absorb"
    reason: str = ""

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


# For each composite: (kind, rule) in order; None matches any kind.
_NAMED: Mapping[str, tuple[tuple[str | None, str], ...]] = {
    "epsilon": ((None, "epsilon"),),
    "epsilon_plus": (("convolution", "z_plus"), (None, "epsilon")),
}
COMPOSITES = tuple(_NAMED)


def named_composite(
    name: str, *, epsilon: float = DEFAULT_EPSILON, bias: str = "absorb", reason: str = ""
) -> Composite:
    """A composite by its name.

    Args:
        name: One of `COMPOSITES`.
        epsilon: Stabiliser of every rule, in the units of a layer's output.
        bias: `absorb`, `ignore` or `share`.
        reason: Why this one.

    Raises:
        CompositeError: The name is unknown, or a parameter doesn't fit.
    """
    if name not in _NAMED:
        raise CompositeError(f"Unknown composite. Expected one of {', '.join(COMPOSITES)}. Received: {name!r}.")
    assignments = tuple(
        Assignment(Rule(rule, {"epsilon": epsilon, "bias": bias}), frozenset() if kind is None else frozenset({kind}))
        for kind, rule in _NAMED[name]
    )
    return Composite(name, assignments, bias, reason)


def default_composite(kinds: set[str], *, epsilon: float = DEFAULT_EPSILON, bias: str = "absorb") -> Composite:
    """The composite that the literature prefers for a model with these kinds of layers.

    z_plus for convolutions and epsilon for dense layers on top (Montavon et al. 2019; Kohlbrenner et al. 2020 find such
    composites the most faithful for convolutional networks); epsilon alone where there is no convolution.
    """
    if "convolution" in kinds:
        reason = "chosen by the model's operations: it has convolutions"
        return named_composite("epsilon_plus", epsilon=epsilon, bias=bias, reason=reason)
    reason = "chosen by the model's operations: it has no convolutions"
    return named_composite("epsilon", epsilon=epsilon, bias=bias, reason=reason)
