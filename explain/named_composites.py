"""Composites by name, as zennit defines them (Anders et al. 2026), and which of them is a model's default."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, final

from explain.composites import Assignment, Composite
from explain.errors import CompositeError
from explain.rules import DEFAULT_EPSILON, NORM_EPSILON, RULES, Parameter, Rule


@final
@dataclass(frozen=True)
class _Line:
    """One line of a named composite: a rule for layers of some kinds (any: none given), maybe first ones only."""

    rule: str
    kinds: frozenset[str] = frozenset()
    first: bool = False


_CONVOLUTION = frozenset({"convolution"})
_AFFINE = frozenset({"dense", "convolution"})
# By zennit's definitions: `flat` is for the first layer with weights, `z_box` for a first convolution.
_NAMED: Mapping[str, tuple[_Line, ...]] = {
    "epsilon": (_Line("epsilon"),),
    "epsilon_plus": (_Line("z_plus", _CONVOLUTION), _Line("epsilon")),
    "epsilon_plus_flat": (_Line("flat", _AFFINE, first=True), _Line("z_plus", _CONVOLUTION), _Line("epsilon")),
    "epsilon_alpha2_beta1": (_Line("alpha_beta", _CONVOLUTION), _Line("epsilon")),
    "epsilon_alpha2_beta1_flat": (
        _Line("flat", _AFFINE, first=True),
        _Line("alpha_beta", _CONVOLUTION),
        _Line("epsilon"),
    ),
    "epsilon_gamma_box": (
        _Line("z_box", _CONVOLUTION, first=True),
        _Line("gamma", _CONVOLUTION),
        _Line("epsilon"),
    ),
    "attnlrp": (_Line("epsilon"),),
    "cp_lrp": (_Line("epsilon"),),
}
_ATTENTION = {"attnlrp": "uniform", "cp_lrp": "gate"}
# The papers of these two divide by sums as they are. Values within 1e-6 of zero are common between normalised layers,
# and with a stabiliser of that size rounding decides what becomes of their relevance: float32 and float64 differed by
# up to 9e-4 of an encoder's largest relevance, with this one by 1e-6.
_ATTENTION_EPSILON = 1e-12
COMPOSITES = tuple(_NAMED)
_MAX_LISTED = 3


def named_composite(
    name: str,
    *,
    epsilon: float | None = None,
    bias: str = "absorb",
    gamma: float | None = None,
    low: float | None = None,
    high: float | None = None,
    reason: str = "",
) -> Composite:
    """A composite by its name.

    Args:
        name: One of `COMPOSITES`.
        epsilon: Stabiliser of every rule, in the units of a layer's output; 1e-6 unless given, 1e-12 for `attnlrp` and
            `cp_lrp`, which take it for sums and products without weights, too, where it is below theirs.
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
    if epsilon is None:
        epsilon = _ATTENTION_EPSILON if name in _ATTENTION else DEFAULT_EPSILON
    given: dict[str, Parameter | None] = {"epsilon": epsilon, "bias": bias, "gamma": gamma, "low": low, "high": high}
    unused = {key for key in ("gamma", "low", "high") if given[key] is not None}
    assignments = []
    for line in _NAMED[name]:
        takes = RULES[line.rule].parameters
        parameters = {key: value for key, value in given.items() if value is not None and key in takes}
        unused -= takes
        assignments.append(Assignment(Rule(line.rule, parameters), line.kinds, first=line.first))
    if unused:
        why = f" ({reason})" if reason else ""
        raise CompositeError(
            f"Composite '{name}'{why} has no rule that takes {', '.join(sorted(unused))}. Leave it out."
        )
    return Composite(
        name,
        tuple(assignments),
        bias,
        _ATTENTION.get(name, "gate"),
        reason,
        stabilizer=min(epsilon, NORM_EPSILON) if name in _ATTENTION else None,
        for_any_model=True,
    )


def default_composite(
    kinds: Collection[str],
    *,
    attention: Sequence[str] = (),
    low: float | None = None,
    high: float | None = None,
    input_range: tuple[float, float] | None = None,
    **options: Any,
) -> Composite:
    """The composite that the literature prefers for a model with these operations.

    Softmax attention: `attnlrp`, also where a convolution cuts the patches. Achtibat et al. (2024, table 1) find it
    more faithful in language models than attention taken as a gate (`cp_lrp`), and in vision transformers than what
    looks at attention alone.

    Convolutions: a rule that favours positive contributions, epsilon for the dense layers on top, and `z_box` for the
    first one where the bounds of the input are known (Montavon et al. 2019; Kohlbrenner et al. 2020 find such
    composites the most faithful). `epsilon_gamma_box` is that. Without bounds `epsilon_plus` stands in: it leaves a
    pixel of value 0 without relevance.

    Epsilon alone where there is neither.

    Args:
        kinds: Kinds of the model's layers with weights.
        attention: Its layers of softmax attention.
        low: Smallest value of the model's raw input, where it is asked for.
        high: Largest value of it.
        input_range: Both, where they are known; used only where `low` and `high` are not asked for.
        options: As for `named_composite`.

    Raises:
        CompositeError: Only one of `low` and `high` is given, or a parameter that no rule of the composite takes.
    """
    if (low is None) != (high is None):
        raise CompositeError(
            f"`low` and `high` go together: the bounds of the model's input. Received: {low=}, {high=}."
        )
    chosen = "chosen by the model's operations:"
    asked = {"low": low, "high": high, **options}
    if attention:
        beside = " and convolutions" if "convolution" in kinds else ""
        reason = (
            f"{chosen} it has softmax attention{beside} (softmax between two products in {_listed(attention)}), and "
            "AttnLRP was found more faithful in language models than attention taken as a gate (Achtibat et al. 2024)"
        )
        return named_composite("attnlrp", reason=reason, **asked)
    if "convolution" not in kinds:
        return named_composite("epsilon", reason=f"{chosen} it has no convolutions and no attention", **asked)
    bounds = input_range if low is None or high is None else (low, high)
    if bounds is None:
        reason = f"{chosen} it has convolutions, and the bounds of its input aren't known"
        return named_composite("epsilon_plus", reason=reason, **asked)
    reason = f"{chosen} it has convolutions, and its input lies between {bounds[0]:g} and {bounds[1]:g}"
    return named_composite("epsilon_gamma_box", reason=reason, **{**asked, "low": bounds[0], "high": bounds[1]})


def _listed(layers: Sequence[str]) -> str:
    """The first few names, and how many more there are."""
    more = len(layers) - _MAX_LISTED
    return ", ".join(layers[:_MAX_LISTED]) + (f" and {more} more" if more > 0 else "")
