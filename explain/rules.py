r"""The rules of LRP: how the relevance of an affine map's output is shared among its inputs.

Every rule is a sum of *branches*. A branch has terms (x_p, W_p) and a bias b_p; with z = sum_p W_p x_p + b_p,

    c_j = R_j / (z_j + epsilon * s(z_j)),        R_i = sum_p x_p,i * sum_j W_p,ij c_j.

So a rule is a few lines that name its branches. Relevance that the bias and the stabiliser absorb, c_j b_j and
c_j epsilon s(z_j), is returned beside, for the audit: R_j = sum_i R_ij + c_j b_j + c_j epsilon s(z_j).

`bias` says what becomes of the bias: `absorb` leaves its share with it (Bach et al. 2015, eq. 56), `ignore` takes it
out of the denominator (conserves, but divides by a number that may be small where z is not), `share` spreads it and the
stabiliser's share evenly over the inputs that the output reads (Arras et al. 2017, bias factor 1; conserves).
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import final

import numpy as np
import tensorflow as tf

from explain.errors import CompositeError
from explain.linear_map import AffineMap, Kernel
from explain.relevance import Relevance, stabilizer, widen

BIAS_MODES = ("absorb", "ignore", "share")
DEFAULT_EPSILON = 1e-6
# Parameter-free sums and means: the fixed stabiliser of zennit's `Norm` rule.
NORM_EPSILON = 1e-6


@final
@dataclass(frozen=True)
class Rule:
    """A rule with its parameters, as a composite assigns it and the manifest records it.

    Args:
        name: A registered rule, e.g. `z_plus`.
        parameters: What the rule takes, e.g. `{"epsilon": 1e-6}`.
    """

    name: str
    parameters: Mapping[str, float | str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.name not in RULES:
            raise CompositeError(f"Unknown rule. Expected one of {', '.join(sorted(RULES))}. Received: {self.name!r}.")
        unknown = set(self.parameters) - RULES[self.name].parameters
        if unknown:
            raise CompositeError(
                f"Rule '{self.name}' takes {', '.join(sorted(RULES[self.name].parameters))}. "
                f"Received: {', '.join(sorted(unknown))}."
            )
        bias = self.parameters.get("bias", "absorb")
        if bias not in BIAS_MODES:
            raise CompositeError(f"`bias` must be one of {', '.join(BIAS_MODES)}. Received: bias={bias!r}.")
        epsilon = self.parameters.get("epsilon", DEFAULT_EPSILON)
        if not isinstance(epsilon, int | float) or not np.isfinite(epsilon) or epsilon < 0:
            raise CompositeError(f"`epsilon` must be a finite number and not negative. Received: epsilon={epsilon!r}.")

    def apply(self, node: AffineMap, relevance: Relevance, *, non_negative: bool) -> "Distribution":
        """Shares out the relevance of the map's output.

        Args:
            node: The affine map.
            relevance: Relevance of its output.
            non_negative: The map's input is known not to be negative, which spares half of the work.
        """
        settings = Settings(
            epsilon=float(self.parameters.get("epsilon", DEFAULT_EPSILON)),
            bias=str(self.parameters.get("bias", "absorb")),
            non_negative=non_negative,
        )
        return RULES[self.name].function(node, relevance, settings)


@final
@dataclass(frozen=True)
class Settings:
    """What every rule is told: stabiliser, treatment of the bias, and whether the input can be negative."""

    epsilon: float = DEFAULT_EPSILON
    bias: str = "absorb"
    non_negative: bool = False


@final
@dataclass(frozen=True)
class Distribution:
    """Relevance of a map's input, and what was absorbed on the way; both absorbed parts in the shape of the output."""

    relevance: Relevance
    absorbed_bias: tf.Tensor | None
    absorbed_stabilizer: tf.Tensor


@final
@dataclass(frozen=True)
class Term:
    """One product of a branch: a part of the input, or a constant in its place, with a kernel."""

    x: tf.Tensor
    kernel: Kernel


@final
@dataclass(frozen=True)
class RegisteredRule:
    """A rule's function and the parameters that it takes."""

    function: Callable[[AffineMap, Relevance, Settings], Distribution]
    parameters: frozenset[str]


_RULES: dict[str, RegisteredRule] = {}
RULES: Mapping[str, RegisteredRule] = MappingProxyType(_RULES)

RuleFunction = Callable[[AffineMap, Relevance, Settings], Distribution]


def register(name: str, *, parameters: Sequence[str] = ("epsilon", "bias")) -> Callable[[RuleFunction], RuleFunction]:
    """Registers a rule under a name that composites can use.

    Raises:
        ValueError: The name is taken.
    """
    if name in _RULES:
        raise ValueError(f"Rule '{name}' is registered already. Choose another name.")

    def add(function: RuleFunction) -> RuleFunction:
        _RULES[name] = RegisteredRule(function, frozenset(parameters))
        return function

    return add


@register("epsilon")
def epsilon_rule(node: AffineMap, relevance: Relevance, settings: Settings) -> Distribution:
    """R_i = sum_j a_i w_ij / (z_j + epsilon s(z_j)) R_j (Bach et al. 2015, eq. 58; epsilon = 0 is eq. 56).

    Commonly used for dense layers. z is the forward pass's own: nothing is computed again.
    """
    z = widen(node.output)
    non_negative = False
    if settings.bias == "ignore" and node.bias is not None:
        z = z - tf.constant(node.bias, z.dtype)
    elif relevance.rectified is not None:
        z, non_negative = relevance.rectified, True
    c, stabilized = _coefficients(relevance.value(), z, settings.epsilon, non_negative=non_negative)
    if non_negative and relevance.quotient is not None and settings.epsilon > 0:
        c = relevance.quotient(settings.epsilon)
    gradient = node.adjoint(c, node.kernel)
    bias = None if settings.bias == "ignore" else node.bias
    return _finish(node, Relevance(node.input, gradient=gradient), c, bias, stabilized, settings)


@register("z_plus")
def z_plus(node: AffineMap, relevance: Relevance, settings: Settings) -> Distribution:
    """R_i = sum_j z_ij^+ / (sum_i z_ij^+ + b_j^+) R_j with z_ij^+ = max(a_i w_ij, 0): alpha-beta with alpha 1, beta 0.

    Commonly used for convolutions (Montavon et al. 2017, who assume a >= 0 and no bias; here as zennit's `ZPlus`, with
    negative inputs and the positive part of the bias).
    """
    x = widen(node.input)
    terms = [Term(_part(x, tf.nn.relu, settings), node.kernel.positive())]
    if not settings.non_negative:
        terms.append(Term(x - terms[0].x, node.kernel.negative()))
    bias = None if node.bias is None or settings.bias == "ignore" else np.maximum(node.bias, 0)
    z = _forward(node, terms, bias)
    c, stabilized = _coefficients(relevance.value(), z, settings.epsilon, non_negative=True)
    return _finish(node, _share_out(node, terms, c), c, bias, stabilized, settings)


def _part(x: tf.Tensor, part: Callable[[tf.Tensor], tf.Tensor], settings: Settings) -> tf.Tensor:
    return x if settings.non_negative else part(x)


def _forward(node: AffineMap, terms: Sequence[Term], bias: np.ndarray | None) -> tf.Tensor:
    z = (
        tf.add_n([node.forward(term.x, term.kernel) for term in terms])
        if len(terms) > 1
        else node.forward(terms[0].x, terms[0].kernel)
    )
    return z if bias is None else z + tf.constant(bias, z.dtype)


def _coefficients(
    r: tf.Tensor, z: tf.Tensor, epsilon: float, *, non_negative: bool
) -> tuple[tf.Tensor, Callable[[tf.Tensor], tf.Tensor]]:
    """c = R / (z + epsilon s(z)), and what the stabiliser absorbs as a function of c."""
    if epsilon == 0.0:
        # 0/0 can't be assigned: what the output holds there is lost, and the audit counts it as absorbed.
        lost = tf.where(z == 0, r, tf.zeros_like(r))
        return tf.math.divide_no_nan(r, z), lambda _c: lost
    added = stabilizer(z, epsilon, non_negative=non_negative)
    return r / (z + added), lambda c: c * added


def _share_out(node: AffineMap, terms: Sequence[Term], c: tf.Tensor) -> Relevance:
    """sum_p x_p W_p^T c. With one term that is the input itself, the gradient form is kept."""
    adjoints = [node.adjoint(c, term.kernel) for term in terms]
    x = widen(node.input)
    if len(terms) == 1 and terms[0].x is x:
        return Relevance(node.input, gradient=adjoints[0])
    return Relevance(node.input, relevance=tf.add_n([t.x * g for t, g in zip(terms, adjoints, strict=True)]))


def _finish(
    node: AffineMap,
    shared: Relevance,
    c: tf.Tensor,
    bias: np.ndarray | None,
    stabilized: Callable[[tf.Tensor], tf.Tensor],
    settings: Settings,
) -> Distribution:
    """Adds the evenly spread part for `share`, and says what was absorbed."""
    stabilizer_part = stabilized(c)
    bias_part = None if bias is None else c * tf.constant(bias, c.dtype)
    if settings.bias != "share":
        return Distribution(shared, bias_part, stabilizer_part)
    spread = stabilizer_part if bias_part is None else stabilizer_part + bias_part
    ones = node.kernel.ones()
    fan_in = node.forward(tf.ones_like(widen(node.input)), ones)
    evenly = node.adjoint(spread / fan_in, ones)
    return Distribution(Relevance(node.input, relevance=shared.value() + evenly), None, tf.zeros_like(stabilizer_part))
