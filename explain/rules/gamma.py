"""The generalised gamma rule: contributions of the output's own sign count (1 + gamma) times."""

from collections.abc import Mapping
from dataclasses import replace

import tensorflow as tf

from explain.errors import CompositeError
from explain.linear_map import AffineMap
from explain.relevance import Relevance, widen
from explain.rules.base import Distribution, Settings, register
from explain.rules.branch import Branch, bias_part, combine, distribute, negative, positive, signed_terms


def _check(numbers: Mapping[str, float]) -> None:
    if numbers["gamma"] < 0:
        raise CompositeError(f"`gamma` must not be negative. Received: gamma={numbers['gamma']!r}.")


@register("gamma", numbers={"gamma": 0.25}, check=_check)
def gamma(node: AffineMap, relevance: Relevance, settings: Settings) -> Distribution:
    """For z_j > 0: R_i = sum_j (a+ (w + gamma w+) + a- (w + gamma w-)) / (their sum + b + gamma b+) R_j.

    For z_j < 0 with w+ and w- exchanged and b-; z_j = 0 holds nothing (Andeol et al. 2021; zennit's `Gamma`). With
    a >= 0 and z > 0 it is Montavon et al. 2019. Below a ReLU only the first case occurs, at the price of one
    modified forward pass. Commonly used for convolutions. Conserves up to the bias and the stabiliser.
    """
    factor, r = settings.numbers["gamma"], relevance.value()
    kernel = node.kernel
    risen = kernel.plus(kernel.positive(), factor, f"gamma{factor:g}/positive")
    fallen = kernel.plus(kernel.negative(), factor, f"gamma{factor:g}/negative")
    above = Branch(
        signed_terms(node, settings, risen, fallen),
        bias_part(node, settings, lambda b: b + factor * positive(b)),
    )
    with_bias = node.bias is None or settings.bias != "ignore"
    if relevance.rectified is not None:
        # Where R is not zero z is positive, and the modified z is z and what else speaks for it: above z.
        return distribute(node, r, replace(above, rectified=with_bias), settings)
    below = Branch(
        signed_terms(node, settings, fallen, risen),
        bias_part(node, settings, lambda b: b + factor * negative(b)),
    )
    z, nothing = widen(node.output), tf.zeros_like(r)
    if settings.non_negative and with_bias:
        # What speaks against an output is its z less what speaks for it: one modified forward pass serves both signs.
        excess = factor * _supporting(node)
        above, below = replace(above, z=z + excess), replace(below, z=(1 + factor) * z - excess)
    parts = [
        distribute(node, tf.where(z > 0, r, nothing), above, settings),
        distribute(node, tf.where(z < 0, r, nothing), below, settings),
    ]
    return combine(parts)


def _supporting(node: AffineMap) -> tf.Tensor:
    """The positive contributions to each output, for an input that is never negative."""
    z = node.forward(widen(node.input), node.kernel.positive())
    return z if node.bias is None else z + tf.constant(positive(node.bias), z.dtype)
