"""Takes down the calls of recurrent layers while a model is traced.

The layer's own loop runs, so that what it predicts stays what it is and ONNX Runtime gets the fused `LSTM` that tf2onnx
recognises in it; but it returns the hidden states of all steps, which the relevance pass needs, and what the caller
asked for is derived from them.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, final

import keras
import tensorflow as tf

from explain.errors import ExplainError

_LAYERS = (keras.layers.RNN, keras.layers.LSTM, keras.layers.GRU, keras.layers.SimpleRNN)
_CELLS = (keras.layers.LSTMCell, keras.layers.GRUCell, keras.layers.SimpleRNNCell)
_METHODS = ("call", "inner_loop")  # what a subclass must not have changed


@final
@dataclass(frozen=True, eq=False)
class RecurrentCall:
    """One call of a recurrent layer with one cell.

    Args:
        layer: The layer's name.
        cell: Its cell.
        sequence: What it read, `(batch, time, features)`.
        initial: The states that it was called with, `(batch, units)` each; empty where it starts from zeros.
        mask: bool `(batch, time)`, False where a step is left out, or None.
        hidden: Hidden state after each step in the order of processing, `(batch, time, units)`; zeros before the first
            step that isn't masked.
        go_backwards: The sequence is read from its end.
        returns_sequence: The first output is the whole sequence, not the last step's.
        zeros_where_masked: The output of masked steps is zero, not the previous step's.
        mark: The operation that all that the layer returned goes through: output, then states.
        inner: Names of the operations between the sequence and the mark.
    """

    layer: str
    cell: keras.Layer
    sequence: tf.Tensor
    initial: tuple[tf.Tensor, ...]
    mask: tf.Tensor | None
    hidden: tf.Tensor
    go_backwards: bool
    returns_sequence: bool
    zeros_where_masked: bool
    mark: tf.Operation
    inner: frozenset[str]

    @property
    def kind(self) -> str:
        """`LSTM`, `GRU` or `SimpleRNN`."""
        return type(self.cell).__name__.removesuffix("Cell")


@final
@dataclass
class Recorder:
    """Collects the calls of recurrent layers that are traced into one graph.

    Args:
        graph: The graph under construction.
    """

    graph: tf.Graph
    calls: dict[str, RecurrentCall] = field(default_factory=dict)  # by the name of the mark

    def wrap(self, layer: keras.Operation, call: Callable[..., Any]) -> Callable[..., Any]:
        """The layer's `call`, noted down if the layer is recurrent and its cells are Keras' own; else as it was."""
        if type(layer) is keras.layers.TimeDistributed:
            return self._distributed(layer, call)
        if not _is_built_in(layer):
            return call
        if isinstance(layer.cell, keras.layers.StackedRNNCells):
            return self._stacked(layer)
        return self._recorded(layer, call)

    def _recorded(self, layer: keras.layers.RNN, call: Callable[..., Any]) -> Callable[..., Any]:
        def recorded(sequences: tf.Tensor, initial_state: Any = None, mask: Any = None, training: bool = False) -> Any:
            if tf.compat.v1.get_default_graph() is not self.graph:  # within a function of its own: can't be walked
                return call(sequences, initial_state=initial_state, mask=mask, training=training)
            if layer.stateful:
                raise ExplainError(
                    f"Layer '{layer.name}' is stateful: its output depends on earlier requests, which an explanation "
                    "doesn't see. Build it with `stateful=False` and pass the state as `initial_state`."
                )
            mask = keras.tree.flatten(mask)[0] if mask is not None else None
            start = len(self.graph.get_operations())
            options = {"return_sequences": True, "return_state": True, "zero_output_for_mask": False}
            with _set(layer, options | ({"use_cudnn": False} if hasattr(layer, "use_cudnn") else {})):
                hidden, *states = call(sequences, initial_state=initial_state, mask=mask, training=training)
            returned = [_output(layer, hidden, mask), *(states if layer.return_state else [])]
            inner = frozenset(op.name for op in self.graph.get_operations()[start:])
            marked = tf.identity_n(returned)
            self.calls[marked[0].op.name] = RecurrentCall(
                layer=layer.name,
                cell=layer.cell,
                sequence=sequences,
                initial=_given(initial_state),
                mask=mask,
                hidden=hidden,
                go_backwards=layer.go_backwards,
                returns_sequence=layer.return_sequences,
                zeros_where_masked=layer.zero_output_for_mask,
                mark=marked[0].op,
                inner=inner,
            )
            return tuple(marked) if layer.return_state else marked[0]

        return recorded

    def _distributed(self, layer: keras.layers.TimeDistributed, call: Callable[..., Any]) -> Callable[..., Any]:
        """A layer for each step of a sequence, for all steps at once: Keras loops over them, which can't be walked."""

        def distributed(inputs: tf.Tensor, training: bool | None = None, mask: Any = None) -> Any:
            if mask is not None and layer.layer._call_has_mask_arg:  # noqa: SLF001 - as Keras itself asks
                return call(inputs, training=training, mask=mask)
            options = {"training": training} if layer.layer._call_has_training_arg else {}  # noqa: SLF001
            sizes = tf.shape(inputs)
            outputs = layer.layer.call(tf.reshape(inputs, tf.concat([[-1], sizes[2:]], axis=0)), **options)
            outputs = tf.reshape(outputs, tf.concat([sizes[:2], tf.shape(outputs)[1:]], axis=0))
            return tf.ensure_shape(outputs, layer.compute_output_shape(tuple(inputs.shape)))

        return distributed

    def _stacked(self, layer: keras.layers.RNN) -> Callable[..., Any]:
        """Stacked cells in one loop compute what a loop for each of them does, one after the other."""

        def recorded(sequences: tf.Tensor, initial_state: Any = None, mask: Any = None, training: bool = False) -> Any:
            mask = keras.tree.flatten(mask)[0] if mask is not None else None
            final: list[Any] = []
            top = len(layer.cell.cells) - 1
            for position, cell in enumerate(layer.cell.cells):
                single = _single(layer, cell, is_first=position == 0, is_last=position == top)
                given = None if initial_state is None else _given(initial_state[position])
                call = self._recorded(single, single.call)
                sequences, *states = call(sequences, initial_state=given, mask=mask, training=training)
                final.append(states)
                if layer.go_backwards and position == 0 and mask is not None:
                    mask = tf.reverse(mask, [1])  # what the first returned is in the order of processing
            return (sequences, *final) if layer.return_state else sequences

        return recorded


def _is_built_in(layer: keras.Operation) -> bool:
    if not isinstance(layer, keras.layers.RNN):
        return False
    cells = layer.cell.cells if isinstance(layer.cell, keras.layers.StackedRNNCells) else [layer.cell]
    base = next((kind for kind in type(layer).__mro__ if kind in _LAYERS), None)
    same = all(getattr(type(layer), method) is getattr(base, method) for method in _METHODS)
    return same and all(type(cell) in _CELLS for cell in cells)


def _single(layer: keras.layers.RNN, cell: keras.Layer, *, is_first: bool, is_last: bool) -> keras.layers.RNN:
    single = keras.layers.RNN(
        cell,
        return_sequences=layer.return_sequences or not is_last,
        return_state=True,
        go_backwards=layer.go_backwards and is_first,
        stateful=layer.stateful,
        unroll=layer.unroll,
        zero_output_for_mask=layer.zero_output_for_mask and is_last,
        name=f"{layer.name}_{cell.name}",
        dtype=layer.dtype_policy,
    )
    single.built = True
    return single


def _given(initial_state: Any) -> tuple[tf.Tensor, ...]:
    return () if initial_state is None else tuple(keras.tree.flatten(initial_state))


def _output(layer: keras.layers.RNN, hidden: tf.Tensor, mask: tf.Tensor | None) -> tf.Tensor:
    """What the layer returns, from the hidden states of all steps."""
    if mask is not None and layer.zero_output_for_mask:
        kept = tf.reverse(mask, [1]) if layer.go_backwards else mask
        hidden = tf.where(kept[..., tf.newaxis], hidden, tf.zeros_like(hidden))
    return hidden if layer.return_sequences else hidden[:, -1]


@contextmanager
def _set(layer: keras.layers.RNN, options: dict[str, Any]) -> Iterator[None]:
    before = {name: getattr(layer, name) for name in options}
    for name, value in options.items():
        object.__setattr__(layer, name, value)
    try:
        yield
    finally:
        for name, value in before.items():
            object.__setattr__(layer, name, value)


@contextmanager
def without_dropout_masks(layers: Iterable[keras.Layer]) -> Iterator[None]:
    """Recurrent layers draw no dropout masks meanwhile.

    Keras 3.15 draws them for inference too and drops them unused, but advancing the seed is a side effect: it stays in
    the graph, and a graph with it can't be frozen for ONNX.
    """
    drawing = [layer for layer in layers if isinstance(layer, keras.layers.RNN)]
    for layer in drawing:
        object.__setattr__(layer, "_maybe_config_dropout_masks", lambda *_: None)
    try:
        yield
    finally:
        for layer in drawing:
            object.__delattr__(layer, "_maybe_config_dropout_masks")


def inner_names(calls: Sequence[RecurrentCall]) -> frozenset[str]:
    """Names of all operations that lie within a recurrent layer."""
    return frozenset().union(*(call.inner for call in calls))
