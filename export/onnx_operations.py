"""ONNX equivalents of TensorFlow operations that tf2onnx 1.17 leaves unconverted, though ONNX can express them."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from onnx import TensorProto
from tf2onnx import utils

Converter = Callable[[Any, Any, str, list[Any]], None]


def erfc(ctx: Any, node: Any, name: str, _arguments: list[Any]) -> None:
    """`erfc(x) = 1 - erf(x)`: exact GELU. https://github.com/onnx/tensorflow-onnx/pull/2463."""
    one = _constant(ctx, node, 1)
    erf = ctx.make_node("Erf", [node.input[0]])
    _replace(ctx, node, name, "Sub", [one, erf.output[0]])


def expm1(ctx: Any, node: Any, name: str, _arguments: list[Any]) -> None:
    """`expm1(x) = exp(x) - 1`: CELU. Near zero it keeps the absolute accuracy of the outputs, not the relative one."""
    one = _constant(ctx, node, 1)
    exp = ctx.make_node("Exp", [node.input[0]])
    _replace(ctx, node, name, "Sub", [exp.output[0], one])


def bucketize(ctx: Any, node: Any, name: str, _arguments: list[Any]) -> None:
    """The number of boundaries that are not above the value: Discretization."""
    dtype = utils.map_onnx_to_numpy_type(ctx.get_dtype(node.input[0]))
    # Whole numbers are compared as doubles, so that boundaries between them keep their meaning.
    wide = np.dtype(np.float64) if np.issubdtype(dtype, np.integer) else np.dtype(dtype)
    boundaries = ctx.make_const(utils.make_name(name), np.array(node.get_attr_value("boundaries"), wide))
    values = ctx.make_node("Cast", [node.input[0]], attr={"to": utils.map_numpy_to_onnx_dtype(wide)})
    last = ctx.make_const(utils.make_name(name), np.array([-1], np.int64))
    column = ctx.make_node("Unsqueeze", [values.output[0], last.output[0]])
    reached = ctx.make_node("GreaterOrEqual", [column.output[0], boundaries.output[0]])
    ones = ctx.make_node("Cast", reached.output, attr={"to": TensorProto.INT32})
    _replace(ctx, node, name, "ReduceSum", [ones.output[0], last.output[0]], keepdims=0)


def select(ctx: Any, node: Any, name: str, _arguments: list[Any]) -> None:
    """`Where`: tf2onnx writes `mask * a + not_mask * b`, seven nodes, and NaN where the other branch is infinite."""
    _replace(ctx, node, name, "Where", list(node.input))


# The shape that tf2onnx takes custom converters in: the function, and arguments for it.
CONVERTERS: Mapping[str, tuple[Converter, list[Any]]] = {
    "Bucketize": (bucketize, []),
    "Erfc": (erfc, []),
    "Expm1": (expm1, []),
    "SelectV2": (select, []),
}


def _constant(ctx: Any, node: Any, value: float) -> str:
    dtype = utils.map_onnx_to_numpy_type(ctx.get_dtype(node.output[0]))
    return ctx.make_const(utils.make_name(node.name), np.array(value, dtype)).output[0]


def _replace(ctx: Any, node: Any, name: str, kind: str, inputs: list[str], **attributes: Any) -> None:
    shapes, dtypes, outputs = node.output_shapes, node.output_dtypes, node.output
    ctx.remove_node(node.name)
    ctx.make_node(kind, inputs, outputs=outputs, name=name, shapes=shapes, dtypes=dtypes, attr=attributes or None)
