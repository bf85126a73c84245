r"""What the relevance pass needs of each cell, for all steps at once, from its input and its hidden states.

Arras et al. (2017, W17-5221; 2019, arXiv:1909.12114) share relevance by the epsilon rule at each sum of a cell; gates
take nothing, activations pass whole, and the denominator of the candidate is its full pre-activation, input and
recurrent part with all biases. With s = +-1 and S_t the relevance of the state after step t, that is one linear
recursion for every cell,

    k_t     = slope_t S_t,                               R_x,t = x_t (W k_t),
    S_(t-1) = keep_t S_t + read_t (U (reset_t k_t)) + what arrives from outside,

where k_t is the candidate's R / (z + epsilon s). S is the relevance of c for LSTM (R_h of the step joins it, for o and
tanh pass whole), of h else:

    LSTM             c_t = f c_(t-1) + i g            keep = f c_(t-1) / (c_t + e s)     read = h_(t-1)
                                                      slope = i g / (c_t + e s) / (z_g + e s)
    GRU              h_t = z h_(t-1) + (1 - z) g      keep = z h_(t-1) / (h_t + e s)
                                                      slope = (1 - z) g / (h_t + e s) / (z_g + e s)
      reset_after    z_g = x W + b + r (h U + b_r)    reset = r                          read = h_(t-1)
      else           z_g = x W + b + (r h) U          reset = 1                          read = r h_(t-1)
    SimpleRNN        h_t = tanh(z)                    keep = 0, slope = 1 / (z + e s)    read = h_(t-1)

A masked step keeps its state: keep = 1, slope = 0.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, final

import keras
import tensorflow as tf

from explain.recurrent.scan import product, weighted_sums
from explain.relevance import stabilizer


@final
@dataclass(frozen=True)
class Factors:
    """The factors of the recursion, `(time, batch, units)` each.

    Args:
        slope: k_t = slope_t S_t.
        read: What the candidate reads of the previous state.
        read_is_hidden: That is the hidden state itself.
        keep: Share of S that the previous state keeps directly; None for none.
        reset: Gate on the recurrent product; None for none.
        input_kernel: W of the candidate, `(features, units)`.
        recurrent_kernel: U of the candidate, `(units, units)`.
        bias: The candidate's bias in total, `(units,)` or with time and batch; None for none.
        bias_absorbs: The bias is a part of the denominator.
        stabilizer: What was added to the candidate's denominator.
        lost: Share of S that the stabiliser of the state's sum absorbs; None for none.
        lost_in_candidate: Share of S that is lost at candidates of exactly zero, for epsilon = 0.
    """

    slope: tf.Tensor
    read: tf.Tensor
    read_is_hidden: bool
    keep: tf.Tensor | None
    reset: tf.Tensor | None
    input_kernel: tf.Tensor
    recurrent_kernel: tf.Tensor
    bias: tf.Tensor | None
    bias_absorbs: bool
    stabilizer: tf.Tensor
    lost: tf.Tensor | None
    lost_in_candidate: tf.Tensor | None


@final
@dataclass(frozen=True)
class Weights:
    """The weights of a cell, in the dtype of the relevance pass; gates side by side on the last axis."""

    kernel: tf.Tensor
    recurrent_kernel: tf.Tensor
    bias: tf.Tensor | None
    units: int

    @staticmethod
    def of(cell: keras.Layer, dtype: tf.DType) -> "Weights":
        """Reads the cell's variables."""

        def read(variable: Any) -> tf.Tensor:
            return tf.cast(tf.convert_to_tensor(variable.value), dtype)

        bias = read(cell.bias) if cell.use_bias else None
        return Weights(read(cell.kernel), read(cell.recurrent_kernel), bias, cell.units)

    def gates(self, first: int, last: int) -> "Weights":
        """The weights of the gates from `first` up to, not including, `last`."""
        part = slice(first * self.units, last * self.units)
        bias = None if self.bias is None else self.bias[..., part]
        return Weights(self.kernel[:, part], self.recurrent_kernel[:, part], bias, self.units)


@final
@dataclass(frozen=True)
class States:
    """What a cell reads and returns.

    Args:
        x: The sequence in the order of processing, `(time, batch, features)`.
        previous: Hidden state before each step, `(time, batch, units)`.
        hidden: Hidden state after each step.
        carry: LSTM's carry before the first step, `(batch, units)`.
        mask: bool `(time, batch, 1)`, False where a step is left out, or None.
    """

    x: tf.Tensor
    previous: tf.Tensor
    hidden: tf.Tensor
    carry: tf.Tensor
    mask: tf.Tensor | None


@final
@dataclass(frozen=True)
class Denominators:
    """How denominators are stabilised: by epsilon s(z); for epsilon = 0 as LRP-0, 0/0 = 0."""

    epsilon: float
    bias: str

    def divide(self, numerator: tf.Tensor, z: tf.Tensor, added: tf.Tensor) -> tf.Tensor:
        """numerator / (z + added)."""
        return numerator / (z + added) if self.epsilon else tf.math.divide_no_nan(numerator, z)

    def added(self, z: tf.Tensor) -> tf.Tensor:
        """epsilon s(z)."""
        return stabilizer(z, self.epsilon) if self.epsilon else tf.zeros_like(z)

    def lost(self, z: tf.Tensor, added: tf.Tensor) -> tf.Tensor:
        """Share that the stabiliser absorbs of what a sum z holds."""
        return added / (z + added) if self.epsilon else tf.cast(tf.equal(z, 0), z.dtype)


def lstm(cell: keras.Layer, states: States, denominators: Denominators) -> Factors:
    """Keras' gates are i, f, c, o; the output gate isn't needed."""
    weights = Weights.of(cell, states.x.dtype).gates(0, 3)
    z = _pre_activation(states, weights)
    z_i, z_f, z_g = tf.split(z, 3, axis=-1)
    written = cell.recurrent_activation(z_i) * cell.activation(z_g)
    kept = cell.recurrent_activation(z_f)
    if states.mask is not None:
        written, kept = _where(states.mask, written, 0), _where(states.mask, kept, 1)

    c = weighted_sums(kept, written, states.carry)
    previous_c = tf.concat([states.carry[tf.newaxis], c[:-1]], axis=0)
    candidate = weights.gates(2, 3)
    return _factors(
        states, denominators, candidate, candidate.bias, z_g, c, kept * previous_c, written, states.previous, None
    )


def gru(cell: keras.Layer, states: States, denominators: Denominators) -> Factors:
    """Keras' gates are z, r, h; with `reset_after` there is a second bias, within what the reset gate scales."""
    weights = Weights.of(cell, states.x.dtype)
    bias, recurrent_bias = weights.bias, None
    if cell.reset_after and weights.bias is not None:
        bias, recurrent_bias = tf.unstack(weights.bias, 2)
    from_input = product(states.x, weights.kernel)
    from_input = from_input if bias is None else from_input + bias
    x_z, x_r, x_g = tf.split(from_input, 3, axis=-1)
    recurrent = weights if cell.reset_after else weights.gates(0, 2)
    from_state = product(states.previous, recurrent.recurrent_kernel)
    from_state = from_state if recurrent_bias is None else from_state + recurrent_bias
    h_z, h_r, *h_g = tf.split(from_state, 3 if cell.reset_after else 2, axis=-1)
    update, r = cell.recurrent_activation(x_z + h_z), cell.recurrent_activation(x_r + h_r)
    candidate = weights.gates(2, 3)
    own_bias = None if bias is None else bias[2 * weights.units :]
    if cell.reset_after:
        read, reset, z_g = states.previous, r, x_g + r * h_g[0]
        if own_bias is not None and recurrent_bias is not None:
            own_bias = own_bias + r * recurrent_bias[2 * weights.units :]
    else:
        read, reset = r * states.previous, None
        z_g = x_g + product(read, candidate.recurrent_kernel)
    kept, written = update * states.previous, (1 - update) * cell.activation(z_g)
    return _factors(states, denominators, candidate, own_bias, z_g, states.hidden, kept, written, read, reset)


def simple_rnn(cell: keras.Layer, states: States, denominators: Denominators) -> Factors:
    """One sum; the identity through its activation."""
    weights = Weights.of(cell, states.x.dtype)
    z = _pre_activation(states, weights)
    return _factors(states, denominators, weights, weights.bias, z, None, None, tf.ones_like(z), states.previous, None)


FACTORS: dict[type[keras.Layer], Callable[[keras.Layer, States, Denominators], Factors]] = {
    keras.layers.LSTMCell: lstm,
    keras.layers.GRUCell: gru,
    keras.layers.SimpleRNNCell: simple_rnn,
}


def _factors(
    states: States,
    denominators: Denominators,
    candidate: Weights,
    bias: tf.Tensor | None,
    z: tf.Tensor,
    total: tf.Tensor | None,
    kept: tf.Tensor | None,
    written: tf.Tensor,
    read: tf.Tensor,
    reset: tf.Tensor | None,
) -> Factors:
    """The factors of a state `total` = `kept` + `written` (of `written` alone: None) with the candidate's sum `z`."""
    keep, lost, mask = None, None, states.mask
    if total is not None:
        added = denominators.added(total)
        keep, written = denominators.divide(kept, total, added), denominators.divide(written, total, added)
        lost = denominators.lost(total, added)
    z = z - bias if bias is not None and denominators.bias == "ignore" else z
    added = denominators.added(z)
    slope = denominators.divide(written, z, added)
    lost_in_candidate = None if denominators.epsilon else written * denominators.lost(z, added)
    if mask is not None:
        keep = tf.cast(~mask, slope.dtype) + tf.zeros_like(slope) if keep is None else _where(mask, keep, 1)
        slope = _where(mask, slope, 0)
        lost = None if lost is None else _where(mask, lost, 0)
        lost_in_candidate = None if lost_in_candidate is None else _where(mask, lost_in_candidate, 0)
    return Factors(
        slope=slope,
        read=read,
        read_is_hidden=read is states.previous,
        keep=keep,
        reset=reset,
        input_kernel=candidate.kernel,
        recurrent_kernel=candidate.recurrent_kernel,
        bias=None if denominators.bias == "ignore" else bias,
        bias_absorbs=denominators.bias == "absorb",
        stabilizer=added,
        lost=lost,
        lost_in_candidate=lost_in_candidate,
    )


def _pre_activation(states: States, weights: Weights) -> tf.Tensor:
    """x W + h U + b, as one product."""
    both = tf.concat([states.x, states.previous], axis=-1)
    z = product(both, tf.concat([weights.kernel, weights.recurrent_kernel], axis=0))
    return z if weights.bias is None else z + weights.bias


def _where(mask: tf.Tensor, value: tf.Tensor, other: tf.Tensor | float) -> tf.Tensor:
    """`value` where a step isn't masked, else `other`."""
    other = other if isinstance(other, tf.Tensor) else tf.constant([other], value.dtype)
    return tf.where(mask, value, other)
