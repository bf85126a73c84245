"""Accounts of relevance, step by step: what came in, what went on, what a bias or a stabiliser absorbed."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import final

import numpy as np
import tensorflow as tf

# The entries of an account. `relevance_within` is the part of `relevance_in` that goes to operations of the same layer:
# what enters and leaves a layer is the sum over its operations less that. What is not conserved is
# relevance_out - relevance_in - absorbed_bias - absorbed_stabilizer.
ENTRIES = ("relevance_out", "relevance_in", "absorbed_bias", "absorbed_stabilizer", "relevance_within")


def total(tensor: tf.Tensor) -> tf.Tensor:
    """Sum over everything but the batch, `(batch,)`."""
    return tf.reduce_sum(tf.reshape(tensor, [tf.shape(tensor)[0], -1]), axis=1)


@final
@dataclass
class Step:
    """One operation's account: of each entry the tensors that belong to it, summed over all axes but the first."""

    layer: str
    operation: str
    rule: str
    sums: Mapping[str, Sequence[tf.Tensor]]


@final
@dataclass
class Audit:
    """The accounts of a whole relevance pass, from the output down."""

    steps: list[Step] = field(default_factory=list)

    def enter(self, layer: str, operation: str, rule: str, account: Mapping[str, Sequence[tf.Tensor]]) -> None:
        """Enters the account of one step, for each of its entries the tensors, of any shape, that it is the sum of."""
        sums = {what: [_rows(tensor) for tensor in tensors] for what, tensors in account.items()}
        self.steps.append(Step(layer, operation, rule, sums))

    def tensors(self) -> dict[str, tf.Tensor]:
        """The sums by `<position>/<layer>/<operation>/<rule>/<entry>/<number>`, for `accounts` to read."""
        return {
            f"{position:04d}/{step.layer.replace('/', '.')}/{step.operation}/{step.rule}/{what}/{number}": tensor
            for position, step in enumerate(self.steps)
            for what, tensors in step.sums.items()
            for number, tensor in enumerate(tensors)
        }


def accounts(sums: Mapping[str, np.ndarray], examples: int) -> dict[str, np.ndarray]:
    """The accounts of each example from the values of `Audit.tensors`.

    Where a tensor of a step isn't batch first (time is, or batch and positions are one axis, as inside a `Dense` on
    images), all of them are summed whole and put down in equal parts: only so is what one example received held against
    what the same passed on.

    Args:
        sums: Vectors by the names that `Audit.tensors` gives them.
        examples: Their number, the size of the batch.

    Returns:
        `(batch,)` arrays by `<position>/<layer>/<operation>/<rule>/<entry>`, all entries of every step, in order.
    """
    steps: dict[str, dict[str, list[np.ndarray]]] = {}
    for name in sorted(sums):
        step, what, _ = name.rsplit("/", 2)
        steps.setdefault(step, {}).setdefault(what, []).append(sums[name])
    return {
        f"{step}/{what}": value
        for step, entries in steps.items()
        for what, value in _account(entries, examples).items()
    }


def _account(entries: Mapping[str, Sequence[np.ndarray]], examples: int) -> dict[str, np.ndarray]:
    vectors = [vector for entry in entries.values() for vector in entry]
    batch_first = all(len(vector) == examples for vector in vectors)
    nothing = np.zeros(examples, vectors[0].dtype)

    def one(vector: np.ndarray) -> np.ndarray:
        return vector if batch_first else np.full(examples, vector.sum() / examples, vector.dtype)

    return {what: sum((one(vector) for vector in entries.get(what, ())), nothing) for what in ENTRIES}


def _rows(tensor: tf.Tensor) -> tf.Tensor:
    """Sums over all axes but the first, a vector."""
    if tensor.shape.rank is None:
        return total(tensor)
    if tensor.shape.rank == 0:
        return tf.reshape(tensor, [1])
    return tf.reduce_sum(tensor, axis=list(range(1, tensor.shape.rank)))
