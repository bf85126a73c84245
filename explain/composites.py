"""Composites: which rule for which layer. Named and defined as zennit defines them (Anders et al. 2026)."""

import fnmatch
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

from explain.errors import CompositeError
from explain.rules import BIAS_MODES, DEFAULT_EPSILON, RULES, Parameter, Rule

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


@final
@dataclass(frozen=True)
class _Line:
    """One line of a named composite: a rule for layers of a kind (any: None), maybe first ones only."""

    rule: str
    kind: str | None = None
    first: bool = False


# By zennit's definitions: `flat` is for the first layer with weights, `z_box` for a first convolution.
_NAMED: Mapping[str, tuple[_Line, ...]] = {
    "epsilon": (_Line("epsilon"),),
    "epsilon_plus": (_Line("z_plus", "convolution"), _Line("epsilon")),
    "epsilon_plus_flat": (_Line("flat", first=True), _Line("z_plus", "convolution"), _Line("epsilon")),
    "epsilon_alpha2_beta1": (_Line("alpha_beta", "convolution"), _Line("epsilon")),
    "epsilon_alpha2_beta1_flat": (_Line("flat", first=True), _Line("alpha_beta", "convolution"), _Line("epsilon")),
    "epsilon_gamma_box": (
        _Line("z_box", "convolution", first=True),
        _Line("gamma", "convolution"),
        _Line("epsilon"),
    ),
    "attnlrp": (_Line("epsilon"),),
    "cp_lrp": (_Line("epsilon"),),
}
_ATTENTION = {"attnlrp": "uniform"}
COMPOSITES = tuple(_NAMED)


def named_composite(
    name: str,
    *,
    epsilon: float = DEFAULT_EPSILON,
    bias: str = "absorb",
    gamma: float | None = None,
    low: float | None = None,
    high: float | None = None,
    reason: str = "",
) -> Composite:
    """A composite by its name.

    Args:
        name: One of `COMPOSITES`.
        epsilon: Stabiliser of every rule, in the units of a layer's output.
        bias: `absorb`, `ignore` or `share`.
        gamma: Of the gamma rule, 0.25 unless given.
        low: Smallest value of the model's raw input, for composites with `z_box`.
        high: Largest value of it.
        reason: Why this one.

    Raises:
        CompositeError: The name is unknown, or a parameter doesn't fit.
    """
    if name not in _NAMED:
        raise CompositeError(f"Unknown composite. Expected one of {', '.join(COMPOSITES)}. Received: {name!r}.")
    given: dict[str, Parameter | None] = {"epsilon": epsilon, "bias": bias, "gamma": gamma, "low": low, "high": high}
    unused = {key for key in ("gamma", "low", "high") if given[key] is not None}
    assignments = []
    for line in _NAMED[name]:
        takes = RULES[line.rule].parameters
        parameters = {key: value for key, value in given.items() if value is not None and key in takes}
        unused -= takes
        kinds = frozenset() if line.kind is None else frozenset({line.kind})
        assignments.append(Assignment(Rule(line.rule, parameters), kinds, first=line.first))
    if unused:
        raise CompositeError(f"Composite '{name}' has no rule that takes {', '.join(sorted(unused))}. Leave it out.")
    return Composite(name, tuple(assignments), bias, _ATTENTION.get(name, "gate"), reason)


def read_composite(path: Path) -> Composite:
    """A composite of one's own from a TOML file; the first entry of `rules` that matches a layer wins.

    Args:
        path: The file.

    Raises:
        CompositeError: The file can't be read as a composite.

    Example:
        A file for a network on pixels::

            name = "mine"
            bias = "ignore"          # of sums with constants outside of layers: absorb | ignore | share
            attention = "gate"       # or "uniform"
            structure = "gate"       # or "share": relevance for edges, too, where they are an input

            [[rules]]
            rule = "z_box"
            first = true
            low = 0.0
            high = 255.0

            [[rules]]
            rule = "gamma"
            kinds = ["convolution"]
            layers = ["block1_*"]
            gamma = 0.5

            [[rules]]
            rule = "epsilon"
    """
    try:
        content = tomllib.loads(path.read_text())
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise CompositeError(f"Expected a TOML file with a composite. Received: {path} ({error}).") from error
    unknown = set(content) - {"name", "bias", "attention", "structure", "rules"}
    entries = content.get("rules")
    if unknown or not isinstance(entries, list) or not entries:
        raise CompositeError(
            "A composite has `[[rules]]` entries, and may have `name`, `bias`, `attention` and `structure`. "
            f"Received in {path}: {', '.join(sorted(content)) or 'nothing'}."
        )
    bias, attention = content.get("bias", "absorb"), content.get("attention", "gate")
    structure = content.get("structure", "gate")
    if bias not in BIAS_MODES or attention not in ATTENTION_MODES or structure not in STRUCTURE_MODES:
        raise CompositeError(
            f"`bias` must be one of {', '.join(BIAS_MODES)}, `attention` one of {', '.join(ATTENTION_MODES)}, "
            f"`structure` one of {', '.join(STRUCTURE_MODES)}. Received in {path}: {bias=}, {attention=}, {structure=}."
        )
    assignments = tuple(_assignment(entry) for entry in entries)
    name, reason = str(content.get("name", path.stem)), f"asked for by {path.name}"
    return Composite(name, assignments, bias, attention, reason, structure)


def _assignment(entry: dict[str, Any]) -> Assignment:
    if not isinstance(entry, dict) or not isinstance(entry.get("rule"), str):
        raise CompositeError(f"Each entry of `rules` names its `rule`. Received: {entry!r}.")
    matchers = {"rule", "kinds", "layers", "first"}
    rule = Rule(entry["rule"], {key: value for key, value in entry.items() if key not in matchers})
    kinds = frozenset(entry.get("kinds", ()))
    if not kinds <= KINDS:
        raise CompositeError(f"`kinds` are {', '.join(sorted(KINDS))}. Received: {', '.join(sorted(kinds))}.")
    return Assignment(rule, kinds, tuple(entry.get("layers", ())), bool(entry.get("first", False)))


def default_composite(
    kinds: set[str], *, low: float | None = None, high: float | None = None, **options: Any
) -> Composite:
    """The composite that the literature prefers for a model with these kinds of layers.

    Convolutions: a rule that favours positive contributions, epsilon for the dense layers on top, and `z_box` for the
    first one where the bounds of the input are known (Montavon et al. 2019; Kohlbrenner et al. 2020 find such
    composites the most faithful). `epsilon_gamma_box` is that. Without bounds `epsilon_plus` stands in: it leaves a
    pixel of value 0 without relevance. Epsilon alone where there is no convolution.

    Args:
        kinds: Kinds of the model's layers with weights.
        low: Smallest value of the model's raw input, where it is known.
        high: Largest value of it.
        options: As for `named_composite`.
    """
    if "convolution" not in kinds:
        reason = "chosen by the model's operations: it has no convolutions"
        return named_composite("epsilon", reason=reason, **options)
    if low is None or high is None:
        reason = "chosen by the model's operations: it has convolutions, and the bounds of its input aren't known"
        return named_composite("epsilon_plus", reason=reason, **options)
    reason = f"chosen by the model's operations: it has convolutions, and its input lies between {low:g} and {high:g}"
    return named_composite("epsilon_gamma_box", low=low, high=high, reason=reason, **options)
