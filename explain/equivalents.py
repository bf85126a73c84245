"""Results that ONNX computes in another way than TensorFlow.

Some computations are fast in TensorFlow in one form and in ONNX Runtime in another: a recursion is unrolled in blocks
for the one, and is an operator of its own in the other. What TensorFlow computed is marked with what it is and what it
was computed from; `export.onnx_equivalents` puts the operator in its place. In a SavedModel the mark is an identity.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import tensorflow as tf

MARK = "_whyserve_equivalent"  # attributes with an underscore are kept by TensorFlow, and mean nothing to it


def marked(
    results: Sequence[tf.Tensor], kind: str, operands: Mapping[str, tf.Tensor], **options: Any
) -> list[tf.Tensor]:
    """Marks what was computed in the graph under construction; eagerly there is nothing to mark.

    Args:
        results: What was computed, of one dtype.
        kind: What it is: a key of `export.onnx_equivalents.KINDS`.
        operands: What it was computed from, of the same dtype.
        options: What else `kind` has to know, ready for JSON.

    Returns:
        The results, to be used in place of those given.
    """
    if tf.executing_eagerly():
        return list(results)
    outputs = tf.identity_n([*results, *operands.values()])
    note = json.dumps({"kind": kind, "results": len(results), "operands": list(operands), "options": options})
    mark = tf.compat.v1.AttrValue(s=note.encode())
    outputs[0].op._set_attr(MARK, mark)  # noqa: SLF001 - there is no public way
    # In ONNX's conversion nothing else knows the shape of what a mark stands for.
    return [tf.ensure_shape(output, result.shape) for output, result in zip(outputs, results, strict=False)]
