"""Relevance at inner layers: how much of the explained score each element of a layer's output stands for.

The pass computes it on its way anyway: it is the relevance that has arrived at the tensor that the layer returned,
before the layer's own operations share it out (Bach et al. 2015, eq. 2: the relevance of every layer is a decomposition
of the score). Where no branch passes the layer by, its sum is the explained value but for what the layers above
absorbed.
"""

import difflib
import re
from collections.abc import Sequence

import tensorflow as tf

from explain.errors import LayerError
from explain.propagation import Walk

_MAX_LISTED = 12


def layer_outputs(layers: Sequence[str], taken: Sequence[str]) -> dict[str, str]:
    """The output of the explain signatures that holds each layer's relevance, `relevance_at_<layer>`.

    Args:
        layers: Names of layers.
        taken: Names of other outputs, which these must differ from.

    Returns:
        Each layer's name, once, to a name of letters, digits and `_`; one that is taken gets a number.
    """
    names: dict[str, str] = {}
    for layer in layers:
        if layer in names:
            continue
        name = base = f"relevance_at_{re.sub(r'[^A-Za-z0-9_]', '_', layer)}"
        number = 1
        while name in taken or name in names.values():
            name, number = f"{base}_{number}", number + 1
        names[layer] = name
    return names


def relevance_at(layer: str, walk: Walk) -> tf.Tensor:
    """Relevance of what a layer returned, in its shape, once the walk has passed it.

    Raises:
        LayerError: There is no such layer, several calls bear its name, or no relevance passes over what it returned.
    """
    calls = walk.trace.returned.get(layer, ())
    if not calls:
        raise LayerError(f"Expected the name of one of the model's layers. Received: '{layer}'. {_near(layer, walk)}")
    if len(calls) > 1:
        raise LayerError(
            f"Expected a layer that is called once. Received: '{layer}', which is called {len(calls)} times (or "
            f"several layers bear this name). Ask for the layer before or after it. {_near(layer, walk)}"
        )
    if not isinstance(calls[0], tf.Tensor) or id(calls[0]) not in walk.passed:
        raise LayerError(
            f"Expected a layer that the relevance pass crosses. Received: '{layer}', where none arrives: it isn't on a "
            "way from an input to the explained score, lies above that score (a final softmax is stepped over), or is "
            f"folded into one step with the layer after it, as a convolution is with its normalization. "
            f"{_near(layer, walk)}"
        )
    return walk.passed[id(calls[0])].value()


def _near(layer: str, walk: Walk) -> str:
    """The layers that can be asked for, those of similar names first."""
    known = [
        name
        for name, calls in walk.trace.returned.items()
        if len(calls) == 1 and isinstance(calls[0], tf.Tensor) and id(calls[0]) in walk.passed
    ]
    near = difflib.get_close_matches(layer, known, n=3, cutoff=0.5)
    listed = (near + [name for name in known if name not in near])[:_MAX_LISTED]
    more = f" and {len(known) - len(listed)} more" if len(known) > len(listed) else ""
    return f"Relevance can be had at: {', '.join(listed)}{more}." if listed else "It can be had at none."
