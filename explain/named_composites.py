"""Composites by name, as zennit defines them (Anders et al. 2026), and which of them is a model's default."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, final

from explain.composites import Assignment, Composite
from explain.errors import CompositeError
from explain.rules import DEFAULT_EPSILON, RULES, Parameter, Rule


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
