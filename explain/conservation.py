"""Accounts of relevance, step by step: what came in, what went on, what a bias or a stabiliser absorbed."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import final

import tensorflow as tf


def total(tensor: tf.Tensor) -> tf.Tensor:
    """Sum over everything but the batch, `(batch,)`."""
    return tf.reduce_sum(tf.reshape(tensor, [tf.shape(tensor)[0], -1]), axis=1)


@final
@dataclass
class Step:
    """One operation's account; each entry is `(batch,)`. What is not conserved is out - in - absorbed.

    `relevance_within` is the part of `relevance_in` that goes to operations of the same layer: what enters and leaves a
    layer is the sum over its operations less that.
    """

    layer: str
    operation: str
    rule: str
    relevance_out: tf.Tensor
    relevance_in: tf.Tensor | None = None
    absorbed_bias: tf.Tensor | None = None
    absorbed_stabilizer: tf.Tensor | None = None
    relevance_within: tf.Tensor | None = None


@final
@dataclass
class Audit:
    """The accounts of a whole relevance pass, from the output down.

    Args:
        batch: Number of examples, a scalar int32 tensor.
    """

    batch: tf.Tensor
    steps: list[Step] = field(default_factory=list)

    def per_example(self, account: Mapping[str, Sequence[tf.Tensor]]) -> dict[str, tf.Tensor]:
        """Sums for each example, `(batch,)`, of the tensors of each entry of one step's account.

        Where one of them isn't batch first (time is, or batch and positions are one axis, as inside a `Dense` on
        images), all are summed whole and put down in equal parts: only so is what one example received held against
        what the same passed on.
        """
        tensors = [tensor for entry in account.values() for tensor in entry]
        batch_first = tf.reduce_all([tf.equal(tf.shape(tensor)[0], self.batch) for tensor in tensors])
        return {what: tf.add_n([self._sums(t, batch_first) for t in entry]) for what, entry in account.items()}

    def _sums(self, tensor: tf.Tensor, batch_first: tf.Tensor) -> tf.Tensor:
        even = tf.reduce_sum(tensor) / tf.cast(self.batch, tensor.dtype)
        return tf.cond(batch_first, lambda: total(tensor), lambda: tf.fill([self.batch], even))

    def tensors(self) -> dict[str, tf.Tensor]:
        """The accounts as named tensors, `<position>/<layer>/<operation>/<rule>/<what>`, in the order of the pass."""
        result = {}
        for position, step in enumerate(self.steps):
            prefix = f"{position:04d}/{step.layer.replace('/', '.')}/{step.operation}/{step.rule}"
            for what in ("relevance_out", "relevance_in", "absorbed_bias", "absorbed_stabilizer", "relevance_within"):
                value = getattr(step, what)
                result[f"{prefix}/{what}"] = tf.zeros_like(step.relevance_out) if value is None else value
        return result
