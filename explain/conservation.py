"""Accounts of relevance, step by step: what came in, what went on, what a bias or a stabiliser absorbed."""

from dataclasses import dataclass, field
from typing import final

import tensorflow as tf


def total(tensor: tf.Tensor) -> tf.Tensor:
    """Sum over everything but the batch, `(batch,)`."""
    return tf.reduce_sum(tf.reshape(tensor, [tf.shape(tensor)[0], -1]), axis=1)


@final
@dataclass
class Step:
    """One operation's account; each entry is `(batch,)`. What is not conserved is out - in - absorbed."""

    layer: str
    operation: str
    rule: str
    relevance_out: tf.Tensor
    relevance_in: tf.Tensor | None = None
    absorbed_bias: tf.Tensor | None = None
    absorbed_stabilizer: tf.Tensor | None = None


@final
@dataclass
class Audit:
    """The accounts of a whole relevance pass, from the output down.

    Args:
        batch: Number of examples, a scalar int32 tensor.
    """

    batch: tf.Tensor
    steps: list[Step] = field(default_factory=list)

    def per_example(self, tensor: tf.Tensor) -> tf.Tensor:
        """Sum for each example, `(batch,)`.

        A tensor that isn't batch first (time is, or both are one axis) is summed whole and put down in equal parts.
        """
        even = tf.reduce_sum(tensor) / tf.cast(self.batch, tensor.dtype)
        batch_first = tf.equal(tf.shape(tensor)[0], self.batch)
        return tf.cond(batch_first, lambda: total(tensor), lambda: tf.fill([self.batch], even))

    def tensors(self) -> dict[str, tf.Tensor]:
        """The accounts as named tensors, `<position>/<layer>/<operation>/<rule>/<what>`, in the order of the pass."""
        result = {}
        for position, step in enumerate(self.steps):
            prefix = f"{position:04d}/{step.layer.replace('/', '.')}/{step.operation}/{step.rule}"
            for what in ("relevance_out", "relevance_in", "absorbed_bias", "absorbed_stabilizer"):
                value = getattr(step, what)
                result[f"{prefix}/{what}"] = tf.zeros_like(step.relevance_out) if value is None else value
        return result
