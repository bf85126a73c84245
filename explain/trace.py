"""The forward pass of a Keras model as operations of the graph under construction, with their layers' names."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import keras
import numpy as np
import tensorflow as tf

from explain.constants import DerivedConstants, GraphConstants
from explain.recurrent.operators import operators_marked
from explain.recurrent.recording import Recorder, RecurrentCall, inner_names, without_dropout_masks

# What these operations return depends on the shape of a signal, not on its values: no relevance flows through them.
_SHAPE_OPERATIONS = frozenset({"Shape", "ShapeN", "Size", "Rank", "ZerosLike", "OnesLike"})


@dataclass
class Trace:
    """The traced forward pass.

    Args:
        inputs: The model's inputs by name.
        outputs: The model's outputs by name.
        operations: The operations of the forward pass in the order of execution.
        layers: The layers and models that each operation was traced in, innermost first, by the operation's name.
        derived: Where the constants of the relevance pass are kept.
        recurrent: Calls of recurrent layers, by the name of the operation that marks what they returned.
        returned: What each call of a layer returned, by the layer's name.
    """

    inputs: dict[str, tf.Tensor]
    outputs: dict[str, tf.Tensor]
    operations: list[tf.Operation]
    layers: dict[str, list[keras.Operation]]
    derived: DerivedConstants
    constants: GraphConstants
    recurrent: Mapping[str, RecurrentCall] = field(default_factory=dict)
    returned: Mapping[str, Sequence[object]] = field(default_factory=dict)
    positions: dict[str, int] = field(default_factory=dict)
    _signals: set[int] = field(default_factory=set)
    _consumers: dict[int, list[tf.Operation]] = field(default_factory=dict)
    _inner: frozenset[str] = frozenset()

    def __post_init__(self) -> None:
        self.positions.update((op.name, position) for position, op in enumerate(self.operations))
        self._signals.update(id(tensor) for tensor in self.inputs.values())
        self._inner = inner_names(list(self.recurrent.values()))
        for op in self.operations:
            for tensor in self._read_by(op):
                self._consumers.setdefault(id(tensor), []).append(op)
            if op.type not in _SHAPE_OPERATIONS and any(id(tensor) in self._signals for tensor in op.inputs):
                self._signals.update(id(tensor) for tensor in op.outputs)

    def is_signal(self, tensor: tf.Tensor) -> bool:
        """The tensor's values depend on the values of an input."""
        return id(tensor) in self._signals

    def is_inner(self, op: tf.Operation) -> bool:
        """The operation lies within a recurrent layer, which is one step of the pass."""
        return op.name in self._inner

    def is_constant(self, tensor: tf.Tensor) -> bool:
        """The tensor depends on neither the values nor the shape of an input, so that it can be evaluated at export."""
        pending, seen = [tensor], set()
        while pending:
            current = pending.pop()
            if id(current) in seen:
                continue
            seen.add(id(current))
            if self.is_signal(current):
                return False
            pending.extend(current.op.inputs)
        return True

    def value(self, tensor: tf.Tensor) -> np.ndarray:
        """The value of a constant tensor."""
        return self.constants.value(tensor)

    def signals(self, op: tf.Operation) -> list[int]:
        """Positions of the operation's inputs that are signals."""
        return [position for position, tensor in enumerate(op.inputs) if self.is_signal(tensor)]

    def consumers(self, tensor: tf.Tensor) -> list[tf.Operation]:
        """The operations of the forward pass that read the tensor."""
        return self._consumers.get(id(tensor), [])

    def add(self, tensor: tf.Tensor, *, like: tf.Operation) -> tf.Tensor:
        """Makes the operation that computed a tensor the last of the forward pass; it counts as the layer's of `like`.

        Args:
            tensor: Computed from signals of the forward pass.
            like: An operation of it.

        Returns:
            The tensor.
        """
        self.positions[tensor.op.name] = len(self.operations)
        self.operations.append(tensor.op)
        self.layers[tensor.op.name] = list(self.layers.get(like.name, ()))
        self._signals.add(id(tensor))
        for source in tensor.op.inputs:
            self._consumers.setdefault(id(source), []).append(tensor.op)
        return tensor

    def _read_by(self, op: tf.Operation) -> Sequence[tf.Tensor]:
        if op.name in self.recurrent:
            call = self.recurrent[op.name]
            return [call.sequence, *call.initial]
        return [] if op.name in self._inner else op.inputs

    def layer(self, op: tf.Operation) -> str:
        """Name of the innermost layer that the operation was traced in."""
        within = self.within(op)
        return within[0].name if within else op.name

    def within(self, op: tf.Operation) -> Sequence[keras.Operation]:
        """The layers and models that the operation was traced in, innermost first."""
        return self.layers.get(op.name, ())


def trace_model(model: keras.Model, inputs: Mapping[str, tf.Tensor], derived: DerivedConstants) -> Trace:
    """Calls the model for inference and takes down the operations that this adds to the graph under construction.

    Args:
        model: A built Keras model.
        inputs: Symbolic tensors by the model's input names, batch first.
        derived: Where constants of the relevance pass are kept.

    Raises:
        RuntimeError: Not called while a `tf.function` is traced.
    """
    if tf.executing_eagerly():
        raise RuntimeError("Explanations are traced: call this inside a `tf.function`. Received: an eager call.")
    graph = tf.compat.v1.get_default_graph()
    start = len(graph.get_operations())
    layers: dict[str, list[keras.Operation]] = {}
    returned: dict[str, list[object]] = {}
    recorder = Recorder(graph)
    with _noting_layers(model, graph, layers, returned, recorder):
        outputs = call_by_name(model, inputs)
    operations = graph.get_operations()[start:]
    return Trace(dict(inputs), outputs, operations, layers, derived, GraphConstants(graph), recorder.calls, returned)


def input_names(model: keras.Model) -> list[str]:
    """The names that the model's inputs have, in order: those of its `Input` layers, made unique where they repeat."""
    tensors = getattr(model, "inputs", None)
    if not tensors:
        raise ValueError(
            "Expected a model whose inputs are known: functional or sequential; wrap a subclassed one, "
            f"`keras.Model(inputs, model(inputs))`. Received: {type(model).__name__} '{model.name}' without inputs."
        )
    return _unique([_tensor_name(tensor) for tensor in tensors])


def output_names(model: keras.Model) -> list[str]:
    """The names that the model's outputs have, in order: keys of a dict, or those of the layers that return them."""
    found = keras.tree.flatten_with_path(getattr(model, "_outputs_struct", model.outputs))
    keys = ["_".join(key for key in path if isinstance(key, str)) for path, _ in found]
    return _unique([_cleaned(key) or _tensor_name(tensor) for key, (_, tensor) in zip(keys, found, strict=True)])


def call_by_name(model: keras.Model, inputs: Mapping[str, tf.Tensor]) -> dict[str, tf.Tensor]:
    """Calls a model for inference on inputs by name and returns its outputs by name."""
    structure = getattr(model, "_inputs_struct", model.inputs)
    flat = [inputs[name] for name in input_names(model)]
    arguments = keras.tree.pack_sequence_as(structure, flat) if not isinstance(structure, list) else flat
    if isinstance(arguments, list) and len(arguments) == 1:
        arguments = arguments[0]
    layers = list(model._flatten_layers())  # noqa: SLF001
    with without_dropout_masks(layers), operators_marked(layers), _functions_inlined():
        outputs = keras.tree.flatten(model(arguments, training=False))
    return dict(zip(output_names(model), outputs, strict=True))


def _tensor_name(tensor: keras.KerasTensor) -> str:
    history = getattr(tensor, "_keras_history", None)
    return _cleaned(history.operation.name if history is not None else tensor.name)


def _cleaned(name: str) -> str:
    return name.replace("/", "_").replace(":", "_")


def _unique(names: list[str]) -> list[str]:
    seen: dict[str, int] = {}
    result = []
    for name in names:
        seen[name] = seen.get(name, 0) + 1
        result.append(name if seen[name] == 1 else f"{name}_{seen[name] - 1}")
    return result


@contextmanager
def _noting_layers(
    model: keras.Model,
    graph: tf.Graph,
    layers: dict[str, list[keras.Operation]],
    returned: dict[str, list[object]],
    recorder: Recorder,
) -> Iterator[None]:
    """While a layer's `call` runs, operations that are added to the graph are noted as the layer's."""
    wrapped = list(_all_operations(model))
    for layer in wrapped:
        noted = _noting(recorder.wrap(layer, layer.call), layer, graph, layers, returned)
        object.__setattr__(layer, "call", noted)
    try:
        yield
    finally:
        for layer in wrapped:
            object.__delattr__(layer, "call")


@contextmanager
def _functions_inlined() -> Iterator[None]:
    """Functions that a layer calls (Keras compiles grouped convolutions so) are traced in place, not as a call."""
    before = tf.config.functions_run_eagerly()
    tf.config.run_functions_eagerly(True)
    try:
        yield
    finally:
        tf.config.run_functions_eagerly(before)


def _noting(
    call: Callable[..., object],
    layer: keras.Operation,
    graph: tf.Graph,
    layers: dict[str, list[keras.Operation]],
    returned: dict[str, list[object]],
) -> Callable[..., object]:
    def noted(*args: object, **kwargs: object) -> object:
        start = len(graph.get_operations())
        result = call(*args, **kwargs)
        for op in graph.get_operations()[start:]:
            layers.setdefault(op.name, []).append(layer)
        returned.setdefault(layer.name, []).append(result)
        return result

    return noted


def _all_operations(model: keras.Model) -> Iterator[keras.Operation]:
    """The layers of the model and of models in it, and the `keras.ops` functions of functional models; each once."""
    seen: set[int] = set()
    pending: list[keras.Operation] = [*getattr(model, "operations", []), *model._flatten_layers(include_self=False)]  # noqa: SLF001
    while pending:
        operation = pending.pop()
        if id(operation) in seen:
            continue
        seen.add(id(operation))
        if "call" not in vars(operation):
            yield operation
        if operation is not model:
            pending.extend(getattr(operation, "operations", []))
