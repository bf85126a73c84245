"""Element-wise functions: the identity rule R_in = R_out (Bach et al. 2015; AttnLRP, Achtibat et al. 2024, eq. 9).

It divides by nothing, so that it holds at tanh(0) and GELU(0) too. Functions that Keras builds from several operations
(SiLU is x * sigmoid(x), PReLU is relu(x) - a relu(-x)) are recognised as one: see `nearest_root`.
"""

from dataclasses import replace
from typing import TYPE_CHECKING

import tensorflow as tf

from explain.operations.registry import register
from explain.relevance import Relevance
from explain.trace import Trace

if TYPE_CHECKING:
    from explain.propagation import Walk

UNARY = (
    "Abs", "Acos", "Acosh", "Asin", "Asinh", "Atan", "Atanh", "BesselI0", "Ceil", "Cos", "Cosh", "Elu", "Erf", "Erfc",
    "Erfinv", "Exp", "Expm1", "Floor", "Inv", "LeakyRelu", "Log", "Log1p", "Reciprocal", "Relu", "Relu6", "Rint",
    "Round", "Rsqrt", "Selu", "Sigmoid", "Sign", "Sin", "Sinh", "Softplus", "Softsign", "Sqrt", "Square", "Tan", "Tanh",
)  # fmt: skip
BINARY = (
    "Add", "AddV2", "BiasAdd", "DivNoNan", "FloorDiv", "FloorMod", "Maximum", "Minimum", "Mul", "MulNoNan", "Pow",
    "RealDiv", "SquaredDifference", "Sub", "Xdivy", "Xlogy",
)  # fmt: skip
COMPARISONS = (
    "Equal",
    "Greater",
    "GreaterEqual",
    "Less",
    "LessEqual",
    "LogicalAnd",
    "LogicalNot",
    "LogicalOr",
    "NotEqual",
)
ELEMENTWISE = frozenset(
    (*UNARY, *BINARY, *COMPARISONS, "Cast", "Neg", "Identity", "ClipByValue", "Select", "SelectV2", "AddN")
)

_NONLINEAR = frozenset((*UNARY, "Maximum", "Minimum", "ClipByValue", "Select", "SelectV2", "Pow"))


@register(*UNARY)
def activation(op: tf.Operation, relevances: list[Relevance | None], walk: "Walk") -> None:
    """R_in = R_out. A ReLU's output also serves as its input's denominator, for both agree wherever R is not zero."""
    relevance = relevances[0]
    if relevance is None:
        return
    passed = Relevance(op.inputs[0], relevance=relevance.value())
    if op.type == "Relu" and relevance.gradient is not None:
        passed = replace(passed, rectified=op.outputs[0], quotient=relevance.quotient)
    walk.send(op.inputs[0], passed)


@register(
    "Pow",
    "ClipByValue",
    "Xlogy",
    "Xdivy",
    "MulNoNan",
    "FloorDiv",
    "FloorMod",
    "SquaredDifference",
)
def composed(op: tf.Operation, relevances: list[Relevance | None], walk: "Walk") -> None:
    """Element-wise functions of several arguments: the identity rule, if all of them come from one tensor."""
    relevance = relevances[0]
    if relevance is None:
        return
    root = nearest_root(op, walk.trace)
    if root is None:
        walk.refuse(op, "Its arguments don't come from one tensor by element-wise functions alone.")
    walk.send(root, Relevance(root, relevance=relevance.value()))


@register("Select", "SelectV2")
def select(op: tf.Operation, relevances: list[Relevance | None], walk: "Walk") -> None:
    """y = a where a condition holds, else b: relevance goes to what was selected; the condition gets nothing."""
    relevance = relevances[0]
    if relevance is None:
        return
    root = nearest_root(op, walk.trace) if walk.trace.is_signal(op.inputs[0]) else None
    if root is not None:
        walk.send(root, Relevance(root, relevance=relevance.value()))
        return
    condition, *branches = op.inputs
    for tensor, holds in zip(branches, (condition, ~condition), strict=True):
        if relevance.relevance is not None:
            passed = relevance.relevance * tf.cast(holds, relevance.relevance.dtype)
            walk.send(tensor, Relevance(tensor, relevance=walk.reduce_to(passed, tensor)))
        elif relevance.gradient is not None:
            passed = relevance.gradient * tf.cast(holds, relevance.gradient.dtype)
            walk.send(tensor, Relevance(tensor, gradient=walk.reduce_to(passed, tensor)))
        if walk.audits and not walk.trace.is_signal(tensor):
            r = relevance.value()
            walk.absorb(op, bias=r * tf.cast(holds, r.dtype))


def within_activation(op: tf.Operation, trace: Trace) -> bool:
    """A sum with a number that belongs to an activation, as the 3 of relu6(x + 3) / 6: no bias that could absorb.

    It is one if the number is written in the code and an element-wise function of the same layer follows.
    """
    others = [tensor for tensor in op.inputs if not trace.is_signal(tensor)]
    if len(others) != 1 or others[0].op.type != "Const" or others[0].shape.num_elements() != 1:
        return False
    while True:
        consumers = trace.consumers(op.outputs[0])
        if len(consumers) != 1 or trace.layer(consumers[0]) != trace.layer(op):
            return False
        op = consumers[0]
        if op.type in _NONLINEAR:
            return True
        if op.type not in ELEMENTWISE:
            return False


def nearest_root(op: tf.Operation, trace: Trace) -> tf.Tensor | None:
    """The one tensor that an operation's result is an element-wise function of, the nearest where there are several.

    Starting at the operation's signals, the one that was computed last is replaced by what it was computed from, until
    one tensor is left: the nearest that lies on every way.

    Returns:
        The tensor, in the shape of the result; None if a way leads through an operation that isn't element-wise.
    """
    shape = op.outputs[0].shape
    order = trace.positions
    frontier = {id(op.inputs[position]): op.inputs[position] for position in trace.signals(op)}
    while len(frontier) > 1:
        latest = max(frontier.values(), key=lambda tensor: order.get(tensor.op.name, -1))
        if latest.op.type not in ELEMENTWISE or latest.op.name not in order:
            return None
        del frontier[id(latest)]
        frontier.update((id(latest.op.inputs[p]), latest.op.inputs[p]) for p in trace.signals(latest.op))
    root = next(iter(frontier.values()), None)
    if root is None or root.shape.as_list() != shape.as_list() or root.dtype == tf.bool:
        return None
    return root
