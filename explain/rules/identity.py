"""The rule that hands relevance on as it is."""

import tensorflow as tf

from explain.errors import CompositeError
from explain.linear_map import AffineMap, dynamic_shape
from explain.relevance import Relevance
from explain.rules.base import Distribution, Settings, register


@register("pass", options=(), epsilon=0.0)
def pass_on(node: AffineMap, relevance: Relevance, settings: Settings) -> Distribution:
    """R_i = R_i of the output, element by element, whatever the weights are (zennit's `Pass`). Conserves.

    For a layer that only rearranges or rescales what it reads, and whose output has its input's shape.
    """
    del settings
    before, after = node.input.shape, node.linear.output.shape
    # A convolution of open size may be strided: whether it keeps the size is known only where the size is.
    known = node.kind == "dense" or before[1:].is_fully_defined()
    if not known or not before.is_compatible_with(after):
        raise CompositeError(
            "Rule 'pass' is for layers whose output has the shape of their input. Received: "
            f"layer '{node.layer}' from {before} to {after}. Give it another rule."
        )
    r = relevance.value()
    passed = Relevance(node.input, relevance=tf.reshape(r, dynamic_shape(node.input)))
    return Distribution(passed, None, tf.zeros_like(r))
