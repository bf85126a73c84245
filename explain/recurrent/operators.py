"""Marks what a `GRU` or `SimpleRNN` computes, for which ONNX has operators.

tf2onnx 1.17 recognises Keras' `LSTM` in its loop, the others not: they became an ONNX `Loop`, ten times slower.
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import keras
import tensorflow as tf

from explain.equivalents import marked

_CELLS = (keras.layers.GRUCell, keras.layers.SimpleRNNCell)
# What ONNX's operators call these; with another activation the layer stays a loop.
_ACTIVATIONS = {"relu": "Relu", "sigmoid": "Sigmoid", "tanh": "Tanh"}


@contextmanager
def operators_marked(layers: Iterable[keras.Layer]) -> Iterator[None]:
    """What recurrent layers compute meanwhile is marked, where it is an operator in ONNX."""
    marking = [layer for layer in layers if isinstance(layer, keras.layers.RNN) and _has_operator(layer.cell)]
    for layer in marking:
        object.__setattr__(layer, "inner_loop", _marking(layer, layer.inner_loop))
    try:
        yield
    finally:
        for layer in marking:
            object.__delattr__(layer, "inner_loop")


def _has_operator(cell: keras.Layer) -> bool:
    return type(cell) in _CELLS and all(name in _ACTIVATIONS for name in _activations(cell))


def _activations(cell: keras.Layer) -> list[str]:
    """Names of the functions of the gates, if there are any, and of the candidate."""
    functions = [cell.activation]
    if isinstance(cell, keras.layers.GRUCell):
        functions.insert(0, cell.recurrent_activation)
    return [getattr(function, "__name__", "") for function in functions]


def _marking(layer: keras.layers.RNN, inner_loop: Callable[..., Any]) -> Callable[..., Any]:
    def marking(sequences: tf.Tensor, initial_state: Any, mask: Any, training: bool = False) -> Any:
        last, outputs, states = inner_loop(sequences, initial_state, mask, training=training)
        if mask is not None or sequences.dtype != tf.float32:  # ONNX's operators leave out no steps
            return last, outputs, states
        whole = layer.return_sequences
        result = _marked(layer, sequences, keras.tree.flatten(initial_state)[0], outputs if whole else last)
        last = result[:, -1] if whole else result
        return last, result if whole else outputs, [last]

    return marking


def _marked(layer: keras.layers.RNN, sequences: tf.Tensor, start: tf.Tensor, result: tf.Tensor) -> tf.Tensor:
    cell = layer.cell
    weights = {"kernel": cell.kernel, "recurrent_kernel": cell.recurrent_kernel}
    weights |= {"bias": cell.bias} if cell.use_bias else {}
    operands = {name: tf.cast(tf.convert_to_tensor(weight.value), tf.float32) for name, weight in weights.items()}
    is_gru = isinstance(cell, keras.layers.GRUCell)
    return marked(
        [result],
        "gru" if is_gru else "simple_rnn",
        {"sequence": sequences, "start": start, **operands},
        activations=[_ACTIVATIONS[name] for name in _activations(cell)],
        go_backwards=layer.go_backwards,
        whole=layer.return_sequences,
        **({"reset_after": cell.reset_after} if is_gru else {}),
    )[0]
