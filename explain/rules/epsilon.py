"""The epsilon rule; with epsilon = 0, LRP-0."""

import tensorflow as tf

from explain.linear_map import AffineMap
from explain.relevance import Relevance, quotient, widen
from explain.rules.base import Distribution, Settings, register
from explain.rules.branch import Branch, Term, distribute


@register("epsilon")
def epsilon(node: AffineMap, relevance: Relevance, settings: Settings) -> Distribution:
    """R_i = sum_j a_i w_ij / (z_j + epsilon s(z_j)) R_j (Bach et al. 2015, eq. 58; epsilon = 0 is eq. 56).

    Commonly used for dense layers. z is the forward pass's own: nothing is computed again. Conserves up to the bias and
    the stabiliser.
    """
    z, bias, c, non_negative = widen(node.output), node.bias, None, False
    if settings.bias == "ignore" and bias is not None:
        z, bias = z - tf.constant(bias, z.dtype), None
    elif relevance.rectified is not None:
        z, non_negative = widen(relevance.rectified), True
    if settings.epsilon > 0:
        c = quotient(relevance, z, settings.epsilon, non_negative=non_negative)
    terms = [Term(widen(node.input), node.kernel)]
    return distribute(node, relevance.value(), Branch(terms, bias, non_negative, z, c), settings)
