"""ONNX equivalents of TensorFlow operations that tf2onnx 1.17 leaves unconverted, though ONNX can express them."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np
from onnx import TensorProto, numpy_helper
from tf2onnx import utils
from tf2onnx.onnx_opset.math import MatMul
from tf2onnx.onnx_opset.nn import Resize

from export.onnx_einsum import einsum

_UNKNOWN = -1
_GEMM_DTYPES = frozenset({TensorProto.FLOAT16, TensorProto.FLOAT, TensorProto.DOUBLE})

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


def scatter_nd(ctx: Any, node: Any, name: str, _arguments: list[Any]) -> None:
    """Rows written to positions among zeros: what meets at one position adds up (tf2onnx keeps the last of them)."""
    positions, rows, shape = node.input
    _scatter(ctx, node, name, (_long(ctx, positions), rows, _long(ctx, shape)), reduction="add")


def segments(ctx: Any, node: Any, name: str, _arguments: list[Any], *, reduction: str, empty: str = "") -> None:
    """Sums or extrema of the rows of each segment, written by position: tf2onnx pads all to the longest segment.

    Args:
        ctx: tf2onnx's graph.
        node: The operation: rows `(rows, ...)`, segments `(rows,)` and, unsorted, the number of segments.
        name: Its name.
        reduction: ONNX's name of it.
        empty: What an empty segment holds: the dtype's limit of this name, or 0.
    """
    rows, ids = node.input[0], _long(ctx, node.input[1])
    utils.make_sure(ctx.get_rank(node.input[1]) == 1, "segments must be numbered along one axis")
    one = _longs(ctx, name, [1])
    if len(node.input) == 3:
        number = ctx.make_node("Reshape", [_long(ctx, node.input[2]), one]).output[0]
        # Rows of a negative segment belong to none: they are written behind the last, which is cut off.
        outside = ctx.make_node("Less", [ids, _longs(ctx, name, [0])]).output[0]
        ids = ctx.make_node("Where", [outside, number, ids]).output[0]
        size = ctx.make_node("Add", [number, one]).output[0]
    else:
        largest = ctx.make_node("ReduceMax", [ids, _longs(ctx, name, [0])], attr={"keepdims": 1}).output[0]
        number = size = ctx.make_node("Add", [largest, one]).output[0]
    inner = ctx.make_node("Shape", [rows], attr={"start": 1}).output[0]
    shape = ctx.make_node("Concat", [size, inner], attr={"axis": 0}).output[0]
    column = ctx.make_node("Unsqueeze", [ids, _longs(ctx, name, [-1])]).output[0]
    dtype = utils.map_onnx_to_numpy_type(ctx.get_dtype(rows))
    limits = np.finfo(dtype) if np.issubdtype(dtype, np.floating) else np.iinfo(dtype)
    filling = np.array([getattr(limits, empty) if empty else 0], dtype)
    written = _written(ctx, name, (column, rows, shape), filling=filling, reduction=reduction)
    _replace(ctx, node, name, "Slice", [written, _longs(ctx, name, [0]), number, _longs(ctx, name, [0])])


def sparse_product(ctx: Any, node: Any, name: str, _arguments: list[Any]) -> None:
    """A sparse matrix times a dense one: the rows that the elements read, scaled, added up where they are written."""
    utils.make_sure(not node.get_attr_value("adjoint_b"), "a transposed dense factor has no equivalent")
    positions, values, shape, dense = node.input
    written, read = (1, 0) if node.get_attr_value("adjoint_a") else (0, 1)
    column = [_longs(ctx, name, [side]) for side in (written, read)]
    rows = ctx.make_node("Gather", [_long(ctx, positions), column[0]], attr={"axis": 1}).output[0]  # (elements, 1)
    columns = ctx.make_node("Gather", [_long(ctx, positions), column[1]], attr={"axis": 1}).output[0]
    last = _longs(ctx, name, [1])
    taken = ctx.make_node("Gather", [dense, ctx.make_node("Squeeze", [columns, last]).output[0]]).output[0]
    scaled = ctx.make_node("Mul", [taken, ctx.make_node("Unsqueeze", [values, last]).output[0]]).output[0]
    size = ctx.make_node("Gather", [_long(ctx, shape), column[0]]).output[0]
    width = ctx.make_node("Shape", [dense], attr={"start": 1}).output[0]
    whole = ctx.make_node("Concat", [size, width], attr={"axis": 0}).output[0]
    _scatter(ctx, node, name, (rows, scaled, whole), reduction="add")


def matmul(ctx: Any, node: Any, _name: str, _arguments: list[Any]) -> None:
    """A product with a transposed matrix as `Gemm`: tf2onnx stores a transposed copy of a kernel that is there."""
    sides = {"transA": "transpose_a", "transB": "transpose_b"}
    transposed = {name: int(node.get_attr_value(side, 0)) for name, side in sides.items()}
    if not any(transposed.values()) or ctx.get_dtype(node.output[0]) not in _GEMM_DTYPES:
        MatMul.version_10(ctx, node)
        return
    for name in list(node.attr):
        del node.attr[name]
    node.type = "Gemm"
    for name, value in transposed.items():
        node.set_attr(name, value)


def resize(ctx: Any, node: Any, _name: str, _arguments: list[Any]) -> None:
    """Resizing to a size where the factor isn't whole: tf2onnx writes the factor, and 7 times fl(11 / 7) isn't 11."""
    image = node.input[0]
    shape = ctx.get_shape(image)
    if shape and node.inputs[1].is_const() and min(shape[1:3]) > 0:
        new = node.inputs[1].get_tensor_value()
        if any(after % before for before, after in zip(shape[1:3], new, strict=True)):
            ctx.set_shape(image, [shape[0], _UNKNOWN, _UNKNOWN, shape[3]])  # of unknown sizes it writes the new size
    Resize.version_11(ctx, node)
    if shape:
        ctx.set_shape(image, shape)


# The shape that tf2onnx takes custom converters in: the function, and arguments for it.
CONVERTERS: Mapping[str, tuple[Converter, list[Any]]] = {
    "Bucketize": (bucketize, []),
    "Einsum": (einsum, []),
    "Erfc": (erfc, []),
    "Expm1": (expm1, []),
    "MatMul": (matmul, []),
    "ResizeBicubic": (resize, []),
    "ResizeBilinear": (resize, []),
    "ResizeNearestNeighbor": (resize, []),
    "ScatterNd": (scatter_nd, []),
    "SegmentMax": (partial(segments, reduction="max"), []),
    "SegmentSum": (partial(segments, reduction="add"), []),
    "SelectV2": (select, []),
    "SparseTensorDenseMatMul": (sparse_product, []),
    "UnsortedSegmentMax": (partial(segments, reduction="max", empty="min"), []),
    "UnsortedSegmentMin": (partial(segments, reduction="min", empty="max"), []),
    "UnsortedSegmentSum": (partial(segments, reduction="add"), []),
}


def _constant(ctx: Any, node: Any, value: float) -> str:
    dtype = utils.map_onnx_to_numpy_type(ctx.get_dtype(node.output[0]))
    return ctx.make_const(utils.make_name(node.name), np.array(value, dtype)).output[0]


def _replace(ctx: Any, node: Any, name: str, kind: str, inputs: list[str], **attributes: Any) -> None:
    shapes, dtypes, outputs = node.output_shapes, node.output_dtypes, node.output
    ctx.remove_node(node.name)
    ctx.make_node(kind, inputs, outputs=outputs, name=name, shapes=shapes, dtypes=dtypes, attr=attributes or None)


def _long(ctx: Any, name: str) -> str:
    """The value in 64 bits, as ONNX wants positions and sizes."""
    if ctx.get_dtype(name) == TensorProto.INT64:
        return name
    return str(ctx.make_node("Cast", [name], attr={"to": TensorProto.INT64}).output[0])


def _longs(ctx: Any, name: str, values: list[int]) -> str:
    return str(ctx.make_const(utils.make_name(name), np.array(values, np.int64)).output[0])


def _scatter(ctx: Any, node: Any, name: str, arguments: tuple[str, str, str], *, reduction: str) -> None:
    """Puts rows written to positions of zeros in the place of a node; positions, rows, shape of the result."""
    positions, rows, shape = arguments
    zeros = _filled(ctx, shape, np.zeros([1], utils.map_onnx_to_numpy_type(ctx.get_dtype(rows))))
    _replace(ctx, node, name, "ScatterND", [zeros, positions, rows], reduction=reduction)


def _written(ctx: Any, name: str, arguments: tuple[str, str, str], *, filling: np.ndarray, reduction: str) -> str:
    positions, rows, shape = arguments
    start = _filled(ctx, shape, filling)
    scattered = ctx.make_node(
        "ScatterND", [start, positions, rows], name=utils.make_name(name), attr={"reduction": reduction}
    )
    ctx.set_dtype(scattered.output[0], ctx.get_dtype(rows))
    return str(scattered.output[0])


def _filled(ctx: Any, shape: str, value: np.ndarray) -> str:
    tensor = numpy_helper.from_array(value, "value")
    return str(ctx.make_node("ConstantOfShape", [shape], attr={"value": tensor}).output[0])
