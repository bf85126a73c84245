"""Recursions over time, in forward operations that TensorFlow and ONNX Runtime both run fast.

Of a recurrent layer's relevance pass only an element-wise sum and one product with the recurrent kernel are sequential.
TensorFlow's loops cost more than that, so that a short static sequence is unrolled, and a long or dynamic one is
processed in blocks of unrolled steps. In ONNX the recursion is a `Scan` (see `export.onnx_recurrent`), whose turns cost
less than the nodes in them.
"""

import math
from collections.abc import Callable, Sequence

import tensorflow as tf

from explain.equivalents import marked

BLOCK_LENGTH = 16  # steps in one turn of the loop
MAX_UNROLLED = 128  # steps; beyond it a graph grows too large

# Takes what is carried and each sequence's values at one step; returns what is carried on, and what the step yields.
Step = Callable[[tf.Tensor, Sequence[tf.Tensor]], tuple[tf.Tensor, tf.Tensor]]


def linear_recursion(
    start: tf.Tensor,
    kernel: tf.Tensor,
    *,
    read: tf.Tensor,
    write: tf.Tensor,
    keep: tf.Tensor | None = None,
    spill: tf.Tensor | None = None,
    joined: tf.Tensor | None = None,
    arrived: tf.Tensor | None = None,
    yields_written: bool = False,
) -> tf.Tensor:
    """The recursion of relevance through a recurrent layer, from the last step to the first.

    S_(t-1) = keep_t S_t + read_t (U (write_t S_t) + joined_t) + sum(spill_t S_t) + arrived_(t-1).

    Args:
        start: S of the last step, without what arrived there, `(batch, units)`.
        kernel: U, `(units, units)`.
        read: `(time, batch, units)`, as all that follow.
        write: What the product reads of S.
        keep: None for nothing.
        spill: What each unit gets of each S; None for nothing.
        joined: What joins the product; None for nothing.
        arrived: What joins S; None for nothing.
        yields_written: Return write_t S_t instead of S.

    Returns:
        S of all steps, `(time, batch, units)`.
    """
    optional = {"keep": keep, "spill": spill, "joined": joined, "arrived": arrived}
    named = {"read": read, "write": write, **{name: part for name, part in optional.items() if part is not None}}

    def step(carried: tf.Tensor, values: Sequence[tf.Tensor]) -> tuple[tf.Tensor, tf.Tensor]:
        at = dict(zip(named, values, strict=True))
        s = carried + at["arrived"] if "arrived" in at else carried
        written = at["write"] * s
        product = tf.matmul(written, kernel, transpose_b=True)
        back = [at["read"] * (product + at["joined"] if "joined" in at else product)]
        if "keep" in at:
            back.append(at["keep"] * s)
        if "spill" in at:
            back.append(tf.reduce_sum(at["spill"] * s, axis=-1, keepdims=True) + tf.zeros_like(s))
        return tf.add_n(back), written if yields_written else s

    result = scan(step, start, list(named.values()), backwards=True)
    operands = {"start": start, "kernel": kernel, **named}
    return marked([result], "linear_recursion", operands, yields_written=yields_written)[0]


def scan(step: Step, carried: tf.Tensor, sequences: Sequence[tf.Tensor], *, backwards: bool = False) -> tf.Tensor:
    """Runs a recursion over the first axis.

    Args:
        step: One step.
        carried: What the first step gets, `(...)`.
        sequences: Tensors `(time, ...)` with equal time.
        backwards: Start at the last step.

    Returns:
        What the steps yield, `(time, ...)` in the order of time.
    """
    time = sequences[0].shape[0]
    if time is not None and time <= MAX_UNROLLED:
        return _unrolled(step, carried, sequences, time, backwards=backwards)[0]
    return _in_blocks(step, carried, sequences, backwards=backwards)


def _unrolled(
    step: Step, carried: tf.Tensor, sequences: Sequence[tf.Tensor], time: int, *, backwards: bool
) -> tuple[tf.Tensor, tf.Tensor]:
    # Steps without an axis of time: TensorFlow multiplies two matrices faster than a stack of one by a matrix.
    at = [tf.unstack(sequence, time) for sequence in sequences]
    yielded = []
    for position in reversed(range(time)) if backwards else range(time):
        carried, result = step(carried, [values[position] for values in at])
        yielded.append(result)
    return tf.stack(yielded[::-1] if backwards else yielded), carried


def weighted_sums(factors: tf.Tensor, terms: tf.Tensor, start: tf.Tensor) -> tf.Tensor:
    """c_t = factors_t c_(t-1) + terms_t, element by element; `factors` are gates, so that their products don't grow.

    All blocks side by side first, each from zero, then from block to block: few operations, however long the sequence.

    Args:
        factors: `(time, ...)`.
        terms: `(time, ...)`.
        start: c before the first step, `(...)`.

    Returns:
        c of all steps, `(time, ...)`.
    """
    static = factors.shape[0]
    length = BLOCK_LENGTH if static is None else max(1, math.isqrt(static))
    time = tf.shape(factors)[0] if static is None else static
    turns = (time + length - 1) // length
    blocks = [_blocks(values, turns, turns * length - time, length) for values in (factors, terms)]
    by_step = zip(*(tf.split(block, length, axis=1) for block in blocks), strict=True)
    decay, c = next(by_step)  # (turns, 1, ...)
    decays, sums = [decay], [c]
    for factor, term in by_step:
        decay, c = decay * factor, factor * c + term
        decays.append(decay)
        sums.append(c)

    def pass_on(carried: tf.Tensor, at: Sequence[tf.Tensor]) -> tuple[tf.Tensor, tf.Tensor]:
        return at[0] * carried + at[1], carried

    decay, c = decay[:, 0], c[:, 0]
    entering = scan(pass_on, start, [decay, c])
    filled = tf.concat(sums, axis=1) + tf.concat(decays, axis=1) * entering[:, tf.newaxis]
    result = tf.reshape(filled, tf.concat([[turns * length], tf.shape(start)], axis=0))[:time]
    return marked([result], "weighted_sums", {"start": start, "factors": factors, "terms": terms})[0]


def product(x: tf.Tensor, kernel: tf.Tensor, *, transposed: bool = False) -> tf.Tensor:
    """x W, or x W^T, of all steps as one product: TensorFlow multiplies stacks of matrices one by one, ONNX doesn't.

    Args:
        x: `(time, batch, ...)`.
        kernel: W, a matrix.
        transposed: Multiply by W^T.
    """
    rows = tf.matmul(tf.reshape(x, [-1, x.shape[-1]]), kernel, transpose_b=transposed)
    result = tf.reshape(rows, tf.concat([tf.shape(x)[:2], [rows.shape[-1]]], axis=0))
    result = tf.ensure_shape(result, [*x.shape[:-1], rows.shape[-1]])
    return marked([result], "product", {"x": x, "kernel": kernel}, transposed=transposed)[0]


def _in_blocks(step: Step, carried: tf.Tensor, sequences: Sequence[tf.Tensor], *, backwards: bool) -> tf.Tensor:
    time = tf.shape(sequences[0])[0]
    turns = (time + BLOCK_LENGTH - 1) // BLOCK_LENGTH
    missing = turns * BLOCK_LENGTH - time
    blocks = [_blocks(sequence, turns, missing, BLOCK_LENGTH, first=backwards) for sequence in sequences]

    def turn(index: tf.Tensor, carried: tf.Tensor, results: tf.TensorArray) -> tuple[tf.Tensor, ...]:
        position = turns - 1 - index if backwards else index
        yielded, carried = _unrolled(
            step, carried, [block[position] for block in blocks], BLOCK_LENGTH, backwards=backwards
        )
        return index + 1, carried, results.write(index, yielded)

    results = tf.TensorArray(carried.dtype, size=turns, element_shape=[BLOCK_LENGTH, *carried.shape])
    results = tf.while_loop(
        lambda index, *_: index < turns, turn, (tf.constant(0), carried, results), maximum_iterations=turns
    )[-1]
    yielded = tf.reverse(results.stack(), [0]) if backwards else results.stack()  # (turns, block, ...)
    yielded = tf.reshape(yielded, tf.concat([[turns * BLOCK_LENGTH], tf.shape(carried)], axis=0))
    return yielded[missing:] if backwards else yielded[:time]


def _blocks(
    sequence: tf.Tensor, turns: tf.Tensor | int, missing: tf.Tensor | int, length: int, *, first: bool = False
) -> tf.Tensor:
    """`(turns, length, ...)`, filled up with zeros where they are processed last: `first` or last in time."""
    inner = tf.shape(sequence)[1:]
    if not (isinstance(missing, int) and missing == 0):
        zeros = tf.zeros(tf.concat([[missing], inner], axis=0), sequence.dtype)
        sequence = tf.concat([zeros, sequence] if first else [sequence, zeros], axis=0)
    blocks = tf.reshape(sequence, tf.concat([[turns, length], inner], axis=0))
    known = turns if isinstance(turns, int) else None
    return tf.ensure_shape(blocks, [known, length, *sequence.shape[1:]])
