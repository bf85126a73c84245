"""Zeros around a maximum stay zeros.

ONNX Runtime 1.31 (`Pad_Fusion`) makes a `Pad` before a `MaxPool` the pool's own padding. That one is minus infinity: a
window of negative values whose largest neighbour is a zero of the padding (ResNet50V2) gets another maximum. A padding
of the smallest number above zero is left alone.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
import onnx
from onnx import numpy_helper

_NAME = "padding_above_zero"


def keep_padding_of_maxima(model: Any) -> int:
    """Pads what a `MaxPool` reads with the smallest normal number instead of zero.

    Args:
        model: The ONNX model, changed in place; it must still hold the dtypes of its inner values.

    Returns:
        How many paddings were changed.
    """
    graph = model.graph
    readers: dict[str, list[Any]] = {}
    for node in graph.node:
        for name in node.input:
            readers.setdefault(name, []).append(node)
    constants = {constant.name: constant for constant in graph.initializer}
    dtypes = {value.name: value.type.tensor_type.elem_type for value in graph.value_info}
    pads = [node for node in graph.node if _pads_with_zero(node, constants) and _pooled(node, readers)]
    for node in pads:
        dtype = onnx.helper.tensor_dtype_to_np_dtype(dtypes.get(node.output[0], onnx.TensorProto.FLOAT))
        name = f"{_NAME}_{dtype}"
        if all(constant.name != name for constant in graph.initializer):
            graph.initializer.append(numpy_helper.from_array(np.asarray(np.finfo(dtype).tiny, dtype), name))
        node.input[2:] = [name, *node.input[3:]]
    return len(pads)


def _pads_with_zero(node: Any, constants: dict[str, Any]) -> bool:
    if node.op_type != "Pad" or any(attribute.s != b"constant" for attribute in node.attribute):
        return False
    value = node.input[2] if len(node.input) > 2 else ""
    return not value or (value in constants and not numpy_helper.to_array(constants[value]).any())


def _pooled(node: Any, readers: dict[str, list[Any]]) -> bool:
    return any(reader.op_type == "MaxPool" for reader in _readers_past_transpositions(node, readers))


def _readers_past_transpositions(node: Any, readers: dict[str, list[Any]]) -> Iterator[Any]:
    for reader in readers.get(node.output[0], []):
        if reader.op_type == "Transpose":
            yield from _readers_past_transpositions(reader, readers)
        yield reader
