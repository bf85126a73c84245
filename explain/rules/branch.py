"""A branch of a rule, z = sum_p W_p x_p + b, and how it shares out relevance."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import final

import numpy as np
import tensorflow as tf

from explain.linear_map import AffineMap, Kernel
from explain.relevance import Relevance, accumulate, stabilizer, widen
from explain.rules.base import Distribution, Settings


@final
@dataclass(frozen=True)
class Term:
    """One product of a branch: a part of the input, or a constant in its place, with a kernel."""

    x: tf.Tensor
    kernel: Kernel


@final
@dataclass(frozen=True)
class Branch:
    """One branch.

    Args:
        terms: Its products.
        bias: Its bias, `(channels,)` or `()`, or None.
        non_negative: z can't be negative.
        rectified: z is not negative where R is not zero; elsewhere it is taken for zero, which spares its sign.
        z: The denominator, where it is known already.
        c: R / (z + epsilon), where it is known already.
    """

    terms: Sequence[Term]
    bias: np.ndarray | None = None
    non_negative: bool = False
    rectified: bool = False
    z: tf.Tensor | None = None
    c: tf.Tensor | None = None


def bias_part(node: AffineMap, settings: Settings, part: Callable[[np.ndarray], np.ndarray]) -> np.ndarray | None:
    """A part of the map's bias, None where the bias is to be ignored."""
    return None if node.bias is None or settings.bias == "ignore" else part(node.bias)


def positive(x: np.ndarray) -> np.ndarray:
    """max(x, 0)."""
    return np.maximum(x, 0)


def negative(x: np.ndarray) -> np.ndarray:
    """min(x, 0)."""
    return np.minimum(x, 0)


def signed_terms(node: AffineMap, settings: Settings, above: Kernel, below: Kernel) -> list[Term]:
    """The products a+ `above` and a- `below`; the second falls away where the input is never negative."""
    x = widen(node.input)
    if settings.non_negative:
        return [Term(x, above)]
    risen = tf.nn.relu(x)
    return [Term(risen, above), Term(x - risen, below)]


def distribute(node: AffineMap, r: tf.Tensor, branch: Branch, settings: Settings) -> Distribution:
    """Shares out R through one branch.

    Args:
        node: The affine map.
        r: Relevance of the map's output, in its shape.
        branch: The branch.
        settings: Stabiliser and treatment of the bias.
    """
    z = _forward(node, branch) if branch.z is None else branch.z
    if branch.rectified:
        z = tf.nn.relu(z)
    non_negative = branch.non_negative or branch.rectified
    c, stabilized = _coefficients(r, z, settings.epsilon, non_negative=non_negative)
    c = c if branch.c is None else branch.c
    shared = _share_out(node, branch.terms, c)
    absorbed_bias = None if branch.bias is None else c * tf.constant(branch.bias, c.dtype)
    absorbed_stabilizer = stabilized(c)
    if settings.bias != "share":
        return Distribution(shared, absorbed_bias, absorbed_stabilizer)
    spread = absorbed_stabilizer if absorbed_bias is None else absorbed_stabilizer + absorbed_bias
    together = shared.value() + _evenly(node, spread)
    return Distribution(Relevance(node.input, relevance=together), None, tf.zeros_like(absorbed_stabilizer))


def combine(parts: Sequence[Distribution]) -> Distribution:
    """The sum of several branches' shares, in gradient form where all have it."""
    shared = reduce(accumulate, [part.relevance for part in parts])
    absorbed = [part.absorbed_bias for part in parts if part.absorbed_bias is not None]
    return Distribution(
        shared,
        tf.add_n(absorbed) if absorbed else None,
        tf.add_n([part.absorbed_stabilizer for part in parts]),
    )


def _forward(node: AffineMap, branch: Branch) -> tf.Tensor:
    parts = _products(node, branch.terms)
    z = parts[0] if len(parts) == 1 else tf.add_n(parts)
    return z if branch.bias is None else z + tf.constant(branch.bias, z.dtype)


def _products(node: AffineMap, terms: Sequence[Term]) -> list[tf.Tensor]:
    """Products that sum to the branch's z without bias; where the map prefers it, all of them as one."""
    alike = len({term.x.shape[0] for term in terms}) == 1  # constants stand for the whole batch in one row
    if len(terms) > 1 and alike and node.stacks(len(terms)):
        return [node.forward(tf.concat([term.x for term in terms], axis=-1), _stacked(terms))]
    return [node.forward(term.x, term.kernel) for term in terms]


def _stacked(terms: Sequence[Term]) -> Kernel:
    first, *others = terms
    return first.kernel.beside([term.kernel for term in others])


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
    adjoints = _adjoints(node, terms, c)
    if len(terms) == 1 and terms[0].x is widen(node.input):
        return Relevance(node.input, gradient=adjoints[0])
    return Relevance(node.input, relevance=tf.add_n([t.x * g for t, g in zip(terms, adjoints, strict=True)]))


def _adjoints(node: AffineMap, terms: Sequence[Term], c: tf.Tensor) -> list[tf.Tensor]:
    """W_p^T c of each term."""
    if len(terms) > 1 and node.stacks(len(terms)):
        return list(tf.split(node.adjoint(c, _stacked(terms)), len(terms), axis=-1))
    return [node.adjoint(c, term.kernel) for term in terms]


def _evenly(node: AffineMap, spread: tf.Tensor) -> tf.Tensor:
    """Spreads what an output holds evenly over the inputs that it reads; padding isn't counted."""
    ones = node.kernel.ones()
    fan_in = node.forward(tf.ones_like(widen(node.input)), ones)
    return node.adjoint(spread / fan_in, ones)
