"""Einstein sums of two factors as one matrix product.

tf2onnx 1.17 spells them with an axis of length 1 for each label that a factor lacks, and with shapes computed while the
graph runs: a dozen nodes and up to four transpositions for each product of attention. Here sizes are copied
(`Reshape` takes 0 for that) or known, and nothing is transposed but what `MatMul` needs.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, final

import numpy as np
from tf2onnx import utils
from tf2onnx.onnx_opset.math import Einsum

_UNKNOWN = -1
# What transpositions cost beside one that moves rows of elements that lie side by side: one that moves these apart, and
# one of the matrices of a factor, which runtimes read transposed within the product.
_SCATTERED, _TURNED = 2.0, 0.5


@final
@dataclass(frozen=True)
class Product:
    """A sum of two factors as a matrix product over leading axes that they share.

    Args:
        swapped: The second factor stands left.
        left: Labels of the left factor.
        right: Labels of the right factor.
        result: Labels of the result.
        sizes: Size of each label, -1 where it is dynamic.
    """

    swapped: bool
    left: str
    right: str
    result: str
    sizes: Mapping[str, int]

    @property
    def shared(self) -> str:
        """Labels of both factors and the result: the leading axes."""
        return "".join(label for label in self.result if label in self.left and label in self.right)

    @property
    def rows(self) -> str:
        """Labels of the left factor and the result only."""
        return "".join(label for label in self.result if label not in self.right)

    @property
    def columns(self) -> str:
        """Labels of the right factor and the result only."""
        return "".join(label for label in self.result if label not in self.left)

    @property
    def summed(self) -> str:
        """Labels of both factors that the result lacks."""
        return "".join(label for label in self.left if label not in self.result)

    @property
    def merged(self) -> tuple[str, ...]:
        """Groups of labels that become one axis; rows of a product without leading axes are such themselves."""
        groups = [self.summed, self.columns, *([self.rows] if self.shared else [])]
        return tuple(group for group in groups if len(group) > 1)

    @property
    def is_possible(self) -> bool:
        """Every kind of label is there, and axes that become one have known sizes."""
        labels = set(self.left) | set(self.right)
        alone = any(label not in self.result for label in set(self.left) ^ set(self.right))
        known = all(self.sizes[label] != _UNKNOWN for group in self.merged for label in group)
        return bool(self.rows and self.columns and self.summed) and known and not alone and set(self.result) <= labels

    @property
    def moved(self) -> float:
        """The cost of its transpositions: 1 for one that moves rows."""
        shared, rows, columns, summed = self.shared, self.rows, self.columns, self.summed
        factors = (self.left, shared + rows + summed), (self.right, shared + summed + columns)
        read = sum(_TURNED if _is_turned(*move) else _moved(*move) for move in factors)
        return read + _moved(shared + rows + columns, self.result)


def as_product(equation: str, shapes: Sequence[Sequence[int] | None]) -> Product | None:
    """The matrix product that an Einstein sum is.

    Args:
        equation: As TensorFlow writes it: `abc,cde->abde`.
        shapes: Shapes of the factors, -1 where a size is dynamic.

    Returns:
        The product, the one of the two orders that moves less; None where the sum isn't one.
    """
    operands, _, result = equation.replace(" ", "").partition("->")
    factors = operands.split(",")
    if len(factors) != 2 or "." in equation or any(len(set(part)) != len(part) for part in (*factors, result)):
        return None
    sizes: dict[str, int] = {}
    for labels, shape in zip(factors, shapes, strict=True):
        if shape is None or len(shape) != len(labels):
            return None
        for label, size in zip(labels, shape, strict=True):
            sizes[label] = max(sizes.get(label, _UNKNOWN), size)
    if any(
        size != sizes[label]
        for labels, shape in zip(factors, shapes, strict=True)
        for label, size in zip(labels, shape or (), strict=True)
        if size != _UNKNOWN
    ):
        return None  # an axis of length 1 that is repeated
    first, second = factors
    orders = [Product(False, first, second, result, sizes), Product(True, second, first, result, sizes)]
    return min((order for order in orders if order.is_possible), key=lambda order: order.moved, default=None)


def _is_turned(labels: str, wanted: str) -> bool:
    return labels == wanted[:-2] + wanted[:-3:-1]


def _moved(labels: str, wanted: str) -> float:
    if labels == wanted:
        return 0.0
    return 1.0 if labels[-1] == wanted[-1] else _SCATTERED


def einsum(ctx: Any, node: Any, name: str, _arguments: list[Any]) -> None:
    """tf2onnx's converter of `Einsum`: a matrix product where it is one, else tf2onnx's own."""
    product = as_product(node.get_attr_value("equation").decode(), [ctx.get_shape(each) for each in node.input])
    if product is None:
        Einsum.version_12(ctx, node)
        return
    inputs = list(reversed(node.input)) if product.swapped else list(node.input)
    shapes, dtypes, outputs = node.output_shapes, node.output_dtypes, node.output
    ctx.remove_node(node.name)
    build = _Builder(ctx, name)
    shared, rows, columns, summed = product.shared, product.rows, product.columns, product.summed
    left = build.transposed(inputs[0], product.left, shared + rows + summed)
    right = build.transposed(inputs[1], product.right, shared + summed + columns)
    sizes = product.sizes
    kept_rows = [rows] if shared else list(rows)
    left = build.grouped(left, [*shared, *kept_rows, summed], sizes)
    right = build.grouped(right, [*shared, summed, columns], sizes)
    value = build.node("MatMul", [left, right])
    value = build.ungrouped(value, [*shared, *kept_rows, columns], sizes)
    value = build.transposed(value, shared + rows + columns, product.result)
    ctx.make_node("Identity", [value], outputs=outputs, name=name, shapes=shapes, dtypes=dtypes)


@final
@dataclass(frozen=True)
class _Builder:
    """Makes nodes in tf2onnx's graph.

    Args:
        ctx: The graph.
        name: What the nodes are named after.
    """

    ctx: Any
    name: str

    def node(self, kind: str, inputs: list[str], **attributes: Any) -> str:
        """A node; returns the name of its result."""
        made = self.ctx.make_node(kind, inputs, name=utils.make_name(self.name), attr=attributes or None)
        return str(made.output[0])

    def transposed(self, value: str, labels: str, wanted: str) -> str:
        """The axes in another order."""
        if labels == wanted:
            return value
        return self.node("Transpose", [value], perm=[labels.index(label) for label in wanted])

    def grouped(self, value: str, groups: list[str], sizes: Mapping[str, int]) -> str:
        """The axes of each group as one."""
        if all(len(group) == 1 for group in groups):
            return value
        # 0 copies the size of the axis at that place, -1 is what remains.
        wanted = [math.prod(sizes[label] for label in group) for group in groups]
        moved = next(position for position, group in enumerate(groups) if len(group) > 1)
        return self._reshaped(value, [0] * moved + wanted[moved:])

    def ungrouped(self, value: str, groups: list[str], sizes: Mapping[str, int]) -> str:
        """The axes of each group one by one again."""
        if all(len(group) == 1 for group in groups):
            return value
        moved = next(position for position, group in enumerate(groups) if len(group) > 1)
        return self._reshaped(value, [0] * moved + [sizes[label] for group in groups[moved:] for label in group])

    def _reshaped(self, value: str, shape: list[int]) -> str:
        constant = self.ctx.make_const(utils.make_name(self.name), np.array(shape, np.int64))
        return self.node("Reshape", [value, str(constant.output[0])])
