"""Finds softmax attention in a traced model: a softmax between two products of signals (Vaswani et al. 2017, eq. 1).

softmax(Q K^T) V and nothing else: a softmax that ends a classifier, weighs the channels of an image or picks an expert
comes from a layer with weights, and one of additive attention from a sum.
"""

import tensorflow as tf

from explain.operations.activation import ELEMENTWISE
from explain.trace import Trace

_PRODUCTS = frozenset({"MatMul", "BatchMatMul", "BatchMatMulV2", "BatchMatMulV3", "Einsum"})
# What scores and weights of attention pass between the products: scaling, masks, heads moved to where they are needed.
_BETWEEN = ELEMENTWISE | {"Reshape", "Squeeze", "ExpandDims", "Transpose", "IdentityN", "StopGradient", "StridedSlice"}


def attention_layers(trace: Trace) -> list[str]:
    """The layers whose softmax lies between two products of signals, in the order of execution."""
    found = [
        trace.layer(op)
        for op in trace.operations
        if op.type == "Softmax" and not trace.is_inner(op) and _comes_from(op, trace) and _goes_to(op, trace)
    ]
    return list(dict.fromkeys(found))


def _is_product(op: tf.Operation, trace: Trace) -> bool:
    return op.type in _PRODUCTS and len(trace.signals(op)) == 2


def _comes_from(softmax: tf.Operation, trace: Trace) -> bool:
    """A product of two signals is met below the softmax."""
    pending, seen = [softmax.inputs[0].op], set()
    while pending:
        op = pending.pop()
        if _is_product(op, trace):
            return True
        if op.name in seen or op.name not in trace.positions or op.type not in _BETWEEN:
            continue
        seen.add(op.name)
        pending.extend(op.inputs[position].op for position in trace.signals(op))
    return False


def _goes_to(softmax: tf.Operation, trace: Trace) -> bool:
    """A product of two signals is met above the softmax."""
    pending, seen = list(trace.consumers(softmax.outputs[0])), set()
    while pending:
        op = pending.pop()
        if _is_product(op, trace):
            return True
        if op.name in seen or op.type not in _BETWEEN:
            continue
        seen.add(op.name)
        pending.extend(consumer for tensor in op.outputs for consumer in trace.consumers(tensor))
    return False
