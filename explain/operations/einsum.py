"""Einstein sums: with a constant kernel (`EinsumDense`, attention's projections) and of two signals (attention)."""

from typing import TYPE_CHECKING, final

import tensorflow as tf

from explain.linear_map import Kernel, LinearMap
from explain.operations.product import share_product, takers
from explain.operations.registry import register, register_linear_map
from explain.relevance import Relevance, widen
from explain.trace import Trace

if TYPE_CHECKING:
    from explain.propagation import Walk


@final
class EinsumMap(LinearMap):
    """An Einstein sum of a signal and a constant kernel."""

    kind = "dense"

    def __init__(self, op: tf.Operation, position: int, kernel: Kernel, trace: Trace) -> None:
        super().__init__(op, op.inputs[position], kernel, trace.derived, trace.layer(op))
        first, second, self._result = _labels(op)
        self._signal, self._kernel = (first, second) if position == 0 else (second, first)
        self.scalable = self._kernel[-1] == self._result[-1]

    def forward(self, x: tf.Tensor, kernel: Kernel) -> tf.Tensor:
        """The sum with another kernel."""
        return tf.einsum(f"{self._signal},{self._kernel}->{self._result}", x, self._constant(kernel, x.dtype))

    def adjoint(self, c: tf.Tensor, kernel: Kernel) -> tf.Tensor:
        """The sum over the result's labels instead of the signal's."""
        constant = kernel.tensor
        if constant is None or constant.dtype != c.dtype:
            constant = self._constant(kernel, c.dtype)
        return tf.einsum(f"{self._result},{self._kernel}->{self._signal}", c, constant)


def _labels(op: tf.Operation) -> tuple[str, str, str]:
    operands, result = op.get_attr("equation").decode().split("->")
    first, second = operands.split(",")
    return first, second, result


def _is_plain(op: tf.Operation) -> bool:
    """Two factors, no label repeated within one, and each label of a factor in the other one or in the result."""
    equation = op.get_attr("equation").decode()
    if equation.count(",") != 1 or "..." in equation:
        return False
    first, second, result = _labels(op)
    repeated = any(len(set(labels)) != len(labels) for labels in (first, second, result))
    return not repeated and set(first) <= set(second + result) and set(second) <= set(first + result)


@register_linear_map("Einsum")
def einsum_map(op: tf.Operation, trace: Trace) -> LinearMap | None:
    """A sum with one constant factor."""
    if not _is_plain(op):
        return None
    signals = trace.signals(op)
    other = op.inputs[1 - signals[0]]
    if len(signals) != 1 or not trace.is_constant(other):
        return None
    return EinsumMap(op, signals[0], Kernel(trace.value(other), tensor=other), trace)


@register("Einsum")
def einsum(op: tf.Operation, relevances: list[Relevance | None], walk: "Walk") -> None:
    """A sum of two signals, shared as a matrix product is (`explain.operations.product`)."""
    relevance = relevances[0]
    if relevance is None:
        return
    if not _is_plain(op):
        walk.refuse(op, f"Its equation {op.get_attr('equation').decode()} isn't a plain product of two factors.")
    first, second, result = _labels(op)
    a, b = (widen(tensor) for tensor in op.inputs)
    positions = takers(op, walk)
    share = share_product(op, relevance, len(positions), walk)
    for position in positions:
        equation, other = (f"{result},{second}->{first}", b) if position == 0 else (f"{result},{first}->{second}", a)
        walk.send(op.inputs[position], Relevance(op.inputs[position], gradient=tf.einsum(equation, share, other)))
