"""Converting a graph without its big weights, and putting them in afterwards.

tf2onnx copies every weight several times, in protocol buffers that don't give memory back. Here it never sees the big
ones: they go in as inputs of a fixed shape, and come out as inputs of the ONNX graph, behind the transpositions that a
kernel needs. Those are computed once, and the results become the file's constants.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
import tensorflow as tf
from onnx.reference import ReferenceEvaluator

from export.onnx_equivalents import cut_off
from export.onnx_external import MIN_BYTES, MIN_MODEL_BYTES, WeightsFile

# Smaller constants stay in the graph: tf2onnx looks at the values of some (shapes, normalisation to be folded).
_BIG_BYTES = MIN_BYTES
_MOVES = frozenset({"Transpose", "Reshape", "Squeeze", "Unsqueeze", "Identity"})


@dataclass(frozen=True)
class HollowGraph:
    """A graph whose big weights are inputs.

    Args:
        graph_def: The graph.
        inputs: Names of the function's own input tensors, in order.
        outputs: Names of its output tensors, in order.
        weights: Values by the names of the tensors that stand for them.
    """

    graph_def: Any
    inputs: list[str]
    outputs: list[str]
    weights: dict[str, np.ndarray]


def hollow(function: Any) -> HollowGraph | None:
    """The graph of a traced function without its big weights.

    Args:
        function: A concrete function.

    Returns:
        The graph, or None if it uses variables in another way than to read them (loops, tables): then it is to be
        frozen as a whole.
    """
    graph_def = cut_off(function.graph.as_graph_def(add_shapes=True), [tensor.name for tensor in function.outputs])
    if graph_def.library.function:
        return None
    values = _captured_values(function)
    resources = {name for name, value in values.items() if value is None or isinstance(value, tf.Variable)}
    weights: dict[str, np.ndarray] = {}
    for node in graph_def.node:
        source = node.input[0] if node.input else ""
        if node.op == "ReadVariableOp" and isinstance(values.get(source), tf.Variable):
            _store(node, values[source].numpy(), weights)
        elif node.name in values and values[node.name] is not None and node.name not in resources:
            _store(node, values[node.name], weights)
        elif node.op == "Const":
            _store(node, tf.make_ndarray(node.attr["value"].tensor), weights)
        elif any(name.lstrip("^").split(":")[0] in resources for name in node.input):
            return None
    kept = [node for node in graph_def.node if node.name not in resources]
    del graph_def.node[:]
    graph_def.node.extend(kept)
    captured = {internal.name for _, internal in function.graph.captures}
    inputs = [tensor.name for tensor in function.inputs if tensor.name not in captured]
    return HollowGraph(graph_def, inputs, [tensor.name for tensor in function.outputs], weights)


def fill(model: Any, weights: dict[str, np.ndarray], file: WeightsFile | None = None) -> None:
    """Turns the inputs that stand for weights into constants.

    Args:
        model: The ONNX model, changed in place.
        weights: Values by the names of the inputs; emptied, so that each is let go once it is written.
        file: Where the constants of a big model go; None keeps them in the model.
    """
    stand_ins = set(weights)
    known = weights
    constants = {tensor.name: tensor for tensor in model.graph.initializer}
    remaining = []
    for node in model.graph.node:
        readable = all(name in known or name in constants for name in node.input)
        if node.op_type in _MOVES and readable and any(name in known for name in node.input):
            known[node.output[0]] = _moved(node, known, constants)
        else:
            remaining.append(node)
    read = {name for node in remaining for name in _read(node)} | {value.name for value in model.graph.output}
    del model.graph.node[:]
    model.graph.node.extend(remaining)
    own = [value for value in model.graph.input if value.name not in stand_ins]
    del model.graph.input[:]
    model.graph.input.extend(own)
    for name in known.keys() - read:
        del known[name]
    outside = file is not None and sum(value.nbytes for value in known.values()) >= MIN_MODEL_BYTES
    for name in list(known):
        value = known.pop(name)
        tensor = file.tensor(name, value) if file is not None and outside else _constant(name, value)
        model.graph.initializer.append(tensor)


def _read(node: Any) -> Iterator[str]:
    """Names of the values that a node reads, itself or in the graphs in it."""
    yield from node.input
    for attribute in node.attribute:
        for graph in (attribute.g, *attribute.graphs):
            for inner in graph.node:
                yield from _read(inner)


def _captured_values(function: Any) -> dict[str, Any]:
    """What a function captured, by the names of its placeholders: variables, arrays, None for other resources."""
    variables = {id(variable.handle): variable for variable in function.graph.variables}
    values: dict[str, Any] = {}
    for external, internal in function.graph.captures:
        if external.dtype in (tf.resource, tf.variant):
            values[internal.op.name] = variables.get(id(external))
        else:
            values[internal.op.name] = external.numpy()
    return values


def _store(node: Any, value: np.ndarray, weights: dict[str, np.ndarray]) -> None:
    """Makes a node a constant, or a placeholder for it where the value is big."""
    shape = node.attr["_output_shapes"].list.shape
    kept = shape[0] if shape else None
    name = node.name
    if value.nbytes < _BIG_BYTES or value.dtype == object:
        if node.op == "Const":
            return
        tensor = tf.make_tensor_proto(value)
        _become(node, "Const")
        node.attr["dtype"].type = tensor.dtype
        node.attr["value"].tensor.CopyFrom(tensor)
    else:
        weights[f"{name}:0"] = value
        _become(node, "Placeholder")
        node.attr["dtype"].type = tf.as_dtype(value.dtype).as_datatype_enum
        node.attr["shape"].shape.CopyFrom(tf.TensorShape(value.shape).as_proto())
    if kept is not None:
        node.attr["_output_shapes"].list.shape.append(tf.TensorShape(value.shape).as_proto())


def _become(node: Any, kind: str) -> None:
    node.op = kind
    del node.input[:]
    node.attr.clear()


def _constant(name: str, value: np.ndarray) -> Any:
    return onnx.numpy_helper.from_array(np.ascontiguousarray(value), name)


def _moved(node: Any, known: Mapping[str, np.ndarray], constants: Mapping[str, Any]) -> np.ndarray:
    feeds = {name: known[name] if name in known else onnx.numpy_helper.to_array(constants[name]) for name in node.input}
    return np.asarray(ReferenceEvaluator(node).run(None, feeds)[0])
