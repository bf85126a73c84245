"""The epsilon rule, and its cases with a stabiliser that is fixed: LRP-0 and zennit's `Norm`."""

import tensorflow as tf

from explain.linear_map import AffineMap
from explain.relevance import Relevance, quotient, widen
from explain.rules.base import NORM_EPSILON, Distribution, Settings, register
from explain.rules.branch import Branch, Term, distribute


@register("norm", epsilon=NORM_EPSILON, options=("bias",))
@register("zero", epsilon=0.0, options=("bias",))
@register("epsilon")
def epsilon(node: AffineMap, relevance: Relevance, settings: Settings) -> Distribution:
    """R_i = sum_j a_i w_ij / (z_j + epsilon s(z_j)) R_j (Bach et al. 2015, eq. 58).

    Commonly used for dense layers. z is the forward pass's own: nothing is computed again. Conserves up to the bias and
    the stabiliser. As `zero` it is LRP-0 (eq. 56), epsilon = 0: for reference, as it divides by whatever z is; where
    that is 0, relevance is lost. As `norm` it has the stabiliser of parameter-free sums and means, whatever that of
    the other layers is (zennit's `Norm`).
    """
    z, bias, c, non_negative = widen(node.output), node.bias, None, False
    if settings.bias == "ignore" and bias is not None:
        z, bias = z - tf.constant(bias, z.dtype), None
    elif relevance.rectified is not None:
        z, non_negative = widen(relevance.rectified), True
    if settings.epsilon > 0:
        c = quotient(relevance, z, settings.epsilon, non_negative=non_negative)
    terms = [Term(widen(node.input), node.kernel)]
    return distribute(node, relevance.value(), Branch(terms, bias, non_negative=non_negative, z=z, c=c), settings)
