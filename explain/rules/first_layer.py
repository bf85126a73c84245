"""Rules for the first layer, whose input has bounds or no natural zero (Montavon et al. 2017, deep Taylor)."""

from collections.abc import Mapping

import numpy as np
import tensorflow as tf

from explain.errors import CompositeError
from explain.linear_map import AffineMap
from explain.relevance import Relevance, widen
from explain.rules.base import Distribution, Settings, register
from explain.rules.branch import Branch, Term, bias_part, distribute


@register("flat")
def flat(node: AffineMap, relevance: Relevance, settings: Settings) -> Distribution:
    """R_i = sum_j R_j / |inputs that j reads| (Lapuschkin et al. 2019); padding isn't counted. Conserves."""
    ones = tf.ones_like(widen(node.input))
    branch = Branch([Term(ones, node.kernel.ones())], non_negative=True)
    return distribute(node, relevance.value(), branch, settings)


@register("w_square")
def w_square(node: AffineMap, relevance: Relevance, settings: Settings) -> Distribution:
    """R_i = sum_j w_ij^2 / (sum_i w_ij^2 + b_j^2) R_j; b^2 in the denominator as zennit has it, and it absorbs."""
    ones = tf.ones_like(widen(node.input))
    terms = [Term(ones, node.kernel.squared())]
    branch = Branch(terms, bias_part(node, settings, np.square), non_negative=True)
    return distribute(node, relevance.value(), branch, settings)


def _check(numbers: Mapping[str, float]) -> None:
    if numbers["low"] >= numbers["high"]:
        raise CompositeError(
            "`low` must be less than `high`: the bounds of the model's input. "
            f"Received: low={numbers['low']:g}, high={numbers['high']:g}."
        )


@register("z_box", numbers={"low": None, "high": None}, check=_check)
def z_box(node: AffineMap, relevance: Relevance, settings: Settings) -> Distribution:
    """R_i = sum_j (z_ij - l_i w_ij^+ - h_i w_ij^-) / sum_i(...) R_j for inputs between l and h.

    `low` and `high` bound the model's raw input and are carried through its preprocessing. The bias cancels: the
    denominator is the forward pass's own z without it, less a constant. Conserves up to the stabiliser.
    """
    if settings.bounds is None:
        raise CompositeError("Rule 'z_box' is for layers that read the model's input. Assign it to first layers only.")
    low, high = settings.bounds(settings.numbers["low"], settings.numbers["high"])
    kernel = node.kernel
    terms = [Term(widen(node.input), kernel), Term(-low, kernel.positive()), Term(-high, kernel.negative())]
    z = widen(node.output if relevance.rectified is None else relevance.rectified)
    ends = node.forward(-low, kernel.positive()) + node.forward(-high, kernel.negative())
    if node.bias is not None:
        ends -= tf.constant(node.bias, ends.dtype)
    return distribute(node, relevance.value(), Branch(terms, z=z + ends), settings)
