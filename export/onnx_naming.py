"""Names inside an ONNX graph that are the same whenever the same model is exported.

tf2onnx appends a number that counts up for the life of the process (`Transpose__217`): one model would have other
bytes, and another digest, at each export. Layer names stay, since profilers show them.
"""

import hashlib
import re
from collections.abc import Iterator
from typing import Any

_COUNTER = re.compile(r"__\d+(?=$|:)")


def rename_internals(model: Any) -> None:
    """Merge constants that are the same and replace tf2onnx's counters by the order of appearance.

    Args:
        model: An ONNX model, changed in place; its inputs and outputs keep their names. Constants come in the order of
            their names.
    """
    graphs = list(_graphs(model.graph))
    kept = {value.name for value in (*model.graph.input, *model.graph.output)}
    merged = _merge_constants(model.graph, kept)
    names = _new_names(graphs, kept)
    nodes: dict[str, int] = {}
    for graph in graphs:
        for value in (*graph.input, *graph.output, *graph.initializer):
            value.name = names.get(value.name, value.name)
        for node in graph.node:
            node.name = _unique(_base(node.name), nodes)
            read = [merged.get(name, name) for name in node.input]
            node.input[:] = [names.get(name, name) for name in read]
            node.output[:] = [names.get(name, name) for name in node.output]
        graph.initializer.sort(key=_name)


def _merge_constants(graph: Any, kept: set[str]) -> dict[str, str]:
    """Drop constants whose values another one has; returns by the names of the dropped the one that stands for them."""
    ordered = sorted(graph.initializer, key=lambda tensor: (_base(tensor.name), _content(tensor)))
    first: dict[bytes, str] = {}
    merged = {}
    for tensor in ordered:
        stays = first.setdefault(_content(tensor), tensor.name)
        if stays != tensor.name and tensor.name not in kept:
            merged[tensor.name] = stays
    for i in reversed(range(len(graph.initializer))):
        if graph.initializer[i].name in merged:
            del graph.initializer[i]
    return merged


def _new_names(graphs: list[Any], kept: set[str]) -> dict[str, str]:
    """New names of values by their old ones. Names of all graphs are told apart: inner graphs see those around them."""
    taken = dict.fromkeys(kept, 1)
    names = {}
    for graph in graphs:
        defined = [name for node in graph.node for name in node.output if name]
        constants = sorted(graph.initializer, key=lambda tensor: (_base(tensor.name), _content(tensor)))
        for name in (*map(_name, graph.input), *map(_name, constants), *defined):
            if name not in kept and name not in names:
                names[name] = _unique(_base(name), taken)
    return names


def _content(tensor: Any) -> bytes:
    """A digest of dtype, shape and values."""
    digest = hashlib.sha256(f"{tensor.data_type} {list(tensor.dims)}".encode())
    if tensor.HasField("raw_data"):
        digest.update(tensor.raw_data)
    else:
        unnamed = type(tensor)()
        unnamed.CopyFrom(tensor)
        unnamed.ClearField("name")
        digest.update(unnamed.SerializeToString(deterministic=True))
    return digest.digest()


def _base(name: str) -> str:
    return _COUNTER.sub("", name)


def _name(named: Any) -> str:
    return str(named.name)


def _unique(name: str, taken: dict[str, int]) -> str:
    candidate = name
    while candidate in taken:
        candidate = f"{name}.{taken[name]}"
        taken[name] += 1
    taken[candidate] = 1
    return candidate


def _graphs(graph: Any) -> Iterator[Any]:
    """A graph and the graphs in it: branches, bodies of loops."""
    yield graph
    for node in graph.node:
        for attribute in node.attribute:
            for inner in ([attribute.g] if attribute.HasField("g") else []) + list(attribute.graphs):
                yield from _graphs(inner)
