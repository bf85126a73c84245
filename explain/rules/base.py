"""What a rule is: a name, parameters, and a function from the relevance of an affine map's output to its input's."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import final

import numpy as np
import tensorflow as tf

from explain.errors import CompositeError
from explain.linear_map import AffineMap
from explain.relevance import Relevance

BIAS_MODES = ("absorb", "ignore", "share")
DEFAULT_EPSILON = 1e-6
# Parameter-free sums and means: the fixed stabiliser of zennit's `Norm` rule.
NORM_EPSILON = 1e-6

Parameter = float | str
# Gives the smallest and the largest value of a map's input, for an input of the model between two numbers.
Bounds = Callable[[float, float], tuple[tf.Tensor, tf.Tensor]]


@final
@dataclass(frozen=True)
class Settings:
    """What a rule is told.

    Args:
        epsilon: Stabiliser.
        bias: `absorb`, `ignore` or `share`.
        non_negative: The map's input is known not to be negative, which spares half of the work.
        numbers: The rule's own parameters, e.g. `{"alpha": 2.0, "beta": 1.0}`.
        bounds: Bounds of the map's input, for rules that take the model's `low` and `high`.
    """

    epsilon: float = DEFAULT_EPSILON
    bias: str = "absorb"
    non_negative: bool = False
    numbers: Mapping[str, float] = field(default_factory=dict)
    bounds: Bounds | None = None


@final
@dataclass(frozen=True)
class Distribution:
    """Relevance of a map's input, and what was absorbed on the way; both absorbed parts in the shape of the output."""

    relevance: Relevance
    absorbed_bias: tf.Tensor | None
    absorbed_stabilizer: tf.Tensor


RuleFunction = Callable[[AffineMap, Relevance, Settings], Distribution]
CheckParameters = Callable[[Mapping[str, float]], None]


@final
@dataclass(frozen=True)
class RegisteredRule:
    """A rule's function, and what can be set of it.

    Args:
        function: Shares out the relevance.
        numbers: The numbers that it takes with their defaults (None: must be given).
        check: Raises `CompositeError` for numbers that don't fit together.
        options: Which of `epsilon` and `bias` can be set.
        epsilon: Its stabiliser, unless another is asked for.
    """

    function: RuleFunction
    numbers: Mapping[str, float | None]
    check: CheckParameters
    options: frozenset[str]
    epsilon: float

    @property
    def parameters(self) -> frozenset[str]:
        """Names of everything that can be set."""
        return self.options.union(self.numbers)


_RULES: dict[str, RegisteredRule] = {}
RULES: Mapping[str, RegisteredRule] = MappingProxyType(_RULES)


def _accept(numbers: Mapping[str, float]) -> None:
    del numbers


def register(
    name: str,
    *,
    numbers: Mapping[str, float | None] | None = None,
    check: CheckParameters = _accept,
    options: Iterable[str] = ("epsilon", "bias"),
    epsilon: float = DEFAULT_EPSILON,
) -> Callable[[RuleFunction], RuleFunction]:
    """Registers a rule under a name that composites can use.

    Args:
        name: The name.
        numbers: The rule's own parameters with their defaults, None where there is none.
        check: Raises `CompositeError` for numbers that don't fit together.
        options: Which of `epsilon` and `bias` can be set.
        epsilon: The stabiliser, fixed where it is not among the options.

    Raises:
        ValueError: The name is taken.
    """
    if name in _RULES:
        raise ValueError(f"Rule '{name}' is registered already. Choose another name.")

    def add(function: RuleFunction) -> RuleFunction:
        _RULES[name] = RegisteredRule(function, dict(numbers or {}), check, frozenset(options), epsilon)
        return function

    return add


def _is_finite_number(value: object) -> bool:
    """What comes from a file may be of any type."""
    return (
        isinstance(value, int | float | np.number) and not isinstance(value, bool) and bool(np.isfinite(float(value)))
    )


@final
@dataclass(frozen=True)
class Rule:
    """A rule with its parameters, as a composite assigns it and the manifest records it.

    Args:
        name: A registered rule, e.g. `z_plus`.
        parameters: What the rule takes, e.g. `{"epsilon": 1e-6}`.

    Raises:
        CompositeError: The rule is unknown, or a parameter is unknown, missing or doesn't fit.
    """

    name: str
    parameters: Mapping[str, Parameter] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.name not in RULES:
            raise CompositeError(f"Unknown rule. Expected one of {', '.join(sorted(RULES))}. Received: {self.name!r}.")
        self._check_names(RULES[self.name])
        if self.bias not in BIAS_MODES:
            raise CompositeError(
                f"`bias` must be one of {', '.join(BIAS_MODES)}. Received: bias={self.parameters['bias']!r}."
            )
        for name, value in self.parameters.items():
            if name != "bias" and not _is_finite_number(value):
                raise CompositeError(f"`{name}` must be a finite number. Received: {name}={value!r}.")
        if self.epsilon < 0:
            raise CompositeError(f"`epsilon` must not be negative. Received: epsilon={self.parameters['epsilon']!r}.")
        RULES[self.name].check(self._numbers())

    @property
    def epsilon(self) -> float:
        """The stabiliser."""
        return float(self.parameters.get("epsilon", RULES[self.name].epsilon))

    @property
    def bias(self) -> str:
        """What becomes of the bias."""
        return str(self.parameters.get("bias", "absorb"))

    def apply(
        self, node: AffineMap, relevance: Relevance, *, non_negative: bool = False, bounds: Bounds | None = None
    ) -> Distribution:
        """Shares out the relevance of the map's output.

        Args:
            node: The affine map.
            relevance: Relevance of its output.
            non_negative: The map's input is known not to be negative.
            bounds: Bounds of the map's input.
        """
        settings = Settings(
            epsilon=self.epsilon,
            bias=self.bias,
            non_negative=non_negative,
            numbers=self._numbers(),
            bounds=bounds,
        )
        return RULES[self.name].function(node, relevance, settings)

    def _check_names(self, registered: RegisteredRule) -> None:
        unknown = set(self.parameters) - registered.parameters
        if unknown:
            raise CompositeError(
                f"Rule '{self.name}' takes {', '.join(sorted(registered.parameters)) or 'no parameters'}. "
                f"Received: {', '.join(sorted(unknown))}."
            )
        missing = [
            name for name, default in registered.numbers.items() if default is None and name not in self.parameters
        ]
        if missing:
            raise CompositeError(
                f"Rule '{self.name}' needs {' and '.join(missing)} (`--{missing[0]} NUMBER`). Received: none."
            )

    def _numbers(self) -> dict[str, float]:
        numbers = RULES[self.name].numbers
        return {name: float(self.parameters.get(name, default)) for name, default in numbers.items()}  # type: ignore[arg-type]
