"""Whether a model computes given inputs: asked before they are made its samples."""

from collections.abc import Mapping

import keras
import numpy as np
import tensorflow as tf

from explain.trace import call_by_name

# What layers, Keras and TensorFlow were seen to raise on inputs or configurations that don't fit them.
MODEL_ERRORS = (
    ValueError,
    TypeError,
    KeyError,
    IndexError,
    AttributeError,
    NotImplementedError,
    RuntimeError,
    tf.errors.OpError,
)


def computes(model: keras.Model, inputs: Mapping[str, np.ndarray], *, finite: bool = False) -> bool:
    """Whether the model takes the inputs.

    Args:
        model: A built Keras model.
        inputs: Arrays by the names of its inputs.
        finite: Its answer must be finite too: what is left of a masked sequence may be nothing but padding.
    """
    try:
        outputs = call_by_name(model, {name: tf.constant(values) for name, values in inputs.items()})
    except MODEL_ERRORS:
        return False
    floating = [values for values in map(np.asarray, outputs.values()) if values.dtype.kind == "f"]
    return not finite or all(np.isfinite(values).all() for values in floating)
