"""The inputs and outputs of a model by their own names, fit to be a signature in every format."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import keras
import tensorflow as tf

from explain.trace import call_by_name, input_names, output_names
from export.errors import InterfaceError

Tensors = Mapping[str, tf.Tensor]

# TensorFlow's pattern for the name of an operation, which an input of a signature is.
_INPUT_NAME = re.compile(r"[A-Za-z0-9.][A-Za-z0-9_.\\-]*")
_DTYPES = frozenset(
    (tf.float16, tf.float32, tf.float64, tf.int8, tf.int16, tf.int32, tf.int64, tf.uint8, tf.uint16, tf.bool, tf.string)
)


@dataclass(frozen=True)
class Interface:
    """A model as a function from named inputs to named outputs.

    Args:
        inputs: Specification of every input, batch first and dynamic.
        outputs: Names of the outputs, in the model's order.
        predict: Calls the model for inference; traceable.
    """

    inputs: dict[str, tf.TensorSpec]
    outputs: tuple[str, ...]
    predict: Callable[[Tensors], dict[str, tf.Tensor]]


def model_interface(model: keras.Model) -> Interface:
    """The interface of a functional or sequential model.

    Raises:
        InterfaceError: An input is sparse or ragged, or its name or dtype can't stand in a signature.
    """
    names = input_names(model)
    inputs = {name: _spec(name, tensor) for name, tensor in zip(names, model.inputs, strict=True)}
    return Interface(inputs, tuple(output_names(model)), lambda tensors: call_by_name(model, tensors))


def _spec(name: str, tensor: keras.KerasTensor) -> tf.TensorSpec:
    if not _INPUT_NAME.fullmatch(name):
        raise InterfaceError(
            f"The name of an input must be letters, digits, `_`, `.` or `-`, as TensorFlow asks. Received: {name!r}. "
            "Rebuild the model with `keras.Input(..., name=...)`."
        )
    if getattr(tensor, "sparse", False) or getattr(tensor, "ragged", False):
        raise InterfaceError(
            f"Input {name!r} must be dense. Received: a sparse or ragged input, which ONNX has no type for."
        )
    dtype = tf.as_dtype(tensor.dtype)
    if dtype not in _DTYPES:
        known = ", ".join(sorted(known.name for known in _DTYPES))
        raise InterfaceError(f"Input {name!r} must be of one of the dtypes {known}. Received: {dtype.name}.")
    return tf.TensorSpec((None, *tensor.shape[1:]), dtype, name=name)
