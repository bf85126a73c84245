"""Puts ONNX operators in the place of what `explain.equivalents` marked.

A mark is an `IdentityN` of results and operands. Before the conversion it is cut off from what TensorFlow computed the
results by, which is never converted then. What is left goes through TensorFlow's optimiser and tf2onnx as an operation
of which they know nothing but its dtypes, and its converter writes the operator.
"""

import copy
import json
from collections.abc import Iterator
from typing import Any

from explain.equivalents import MARK
from export.onnx_recurrent import KINDS

OPERATION = "PyFunc"  # never run: an operation with any number of inputs and outputs, and a text
_TOKEN = "token"  # noqa: S105 - what that text is called


def cut_off(graph_def: Any, outputs: list[str]) -> Any:
    """A graph for inference with marks in the place of what their results were computed by.

    Args:
        graph_def: The graph. Control inputs go: ONNX knows none.
        outputs: Names of the tensors to keep; inputs are kept, too.
    """
    nodes = {node.name: _without_control(node) for node in graph_def.node}
    kept = {name for name, node in nodes.items() if node.op == "Placeholder"}
    pending = [_node_name(name) for name in outputs]
    while pending:
        name = pending.pop()
        if name not in kept:
            kept.add(name)
            pending.extend(_node_name(source) for source in nodes[name].input)
    remaining = [node for name, node in nodes.items() if name in kept]
    library = {function.signature.name: function for function in graph_def.library.function}
    result = type(graph_def)(versions=graph_def.versions, node=remaining)
    result.library.CopyFrom(graph_def.library)
    del result.library.function[:]
    result.library.function.extend(library[name] for name in _called(remaining, library))
    return result


def convert_mark(ctx: Any, node: Any, name: str, _arguments: list[Any]) -> None:
    """Writes the operator of a mark."""
    note = json.loads(node.get_attr_str(_TOKEN))
    operands, results = dict(zip(note["operands"], node.input, strict=True)), list(node.output)
    shapes, dtypes = node.output_shapes, node.output_dtypes
    ctx.remove_node(name)
    KINDS[note["kind"]](ctx, results, operands, **note["options"])
    for result, shape, dtype in zip(results, shapes, dtypes, strict=True):
        ctx.set_dtype(result, dtype)
        if shape is not None:
            ctx.set_shape(result, shape)


def _without_control(node: Any) -> Any:
    node = copy.deepcopy(node)
    data = [name for name in node.input if not name.startswith("^")]
    if MARK in node.attr:
        note, dtypes = json.loads(node.attr[MARK].s), list(node.attr["T"].list.type)
        count = note["results"]
        data = data[count:]
        node.op = OPERATION
        node.attr.clear()
        node.attr["Tin"].list.type.extend(dtypes[count:])
        node.attr["Tout"].list.type.extend(dtypes[:count])
        node.attr[_TOKEN].s = json.dumps(note).encode()
    del node.input[:]
    node.input.extend(data)
    return node


def _node_name(tensor: str) -> str:
    return tensor.partition(":")[0]


def _called(nodes: list[Any], library: dict[str, Any]) -> list[str]:
    """Names of the functions that nodes call, and those call."""
    found: list[str] = []
    pending = list(nodes)
    while pending:
        for name in _function_names(pending.pop()):
            if name in library and name not in found:
                found.append(name)
                pending.extend(library[name].node_def)
    return found


def _function_names(node: Any) -> Iterator[str]:
    for attribute in node.attr.values():
        for function in (attribute.func, *attribute.list.func):
            if function.name:
                yield function.name
