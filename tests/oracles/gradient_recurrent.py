"""Recurrent layers step by step with their gates held fixed, for `tests.oracles.gradient` (Arras et al. 2017, 2019)."""

import tensorflow as tf
from keras import layers

from tests.oracles.gradient_layers import gated


def unrolled(layer, x, mask):
    """The output of a recurrent layer, or of one in both directions.

    Args:
        layer: LSTM, GRU, SimpleRNN or Bidirectional.
        x: `(batch, time, features)`.
        mask: bool `(batch, time)`, or None.
    """
    if isinstance(layer, layers.Bidirectional):
        forward = unrolled(layer.forward_layer, x, mask)
        backward = unrolled(layer.backward_layer, x, mask)
        backward = backward[:, ::-1] if layer.return_sequences else backward
        return tf.concat([forward, backward], -1) if layer.merge_mode == "concat" else forward + backward
    cell = layer.cell
    state = [tf.zeros([len(x), cell.units], x.dtype)] * (2 if type(cell) is layers.LSTMCell else 1)
    outputs = []
    for t in range(x.shape[1])[:: -1 if layer.go_backwards else 1]:
        following = STEPS[type(cell)](cell, x[:, t], *state)
        if mask is not None:
            following = [tf.where(mask[:, t, None], new, old) for new, old in zip(following, state, strict=True)]
        state = following
        outputs.append(state[0])
    return tf.stack(outputs, axis=1) if layer.return_sequences else outputs[-1]


def _lstm(cell, x, h, c):
    z = x @ tf.convert_to_tensor(cell.kernel) + h @ tf.convert_to_tensor(cell.recurrent_kernel)
    i, f, g, o = tf.split(z + cell.bias, 4, axis=-1)
    i, f, o = (tf.stop_gradient(cell.recurrent_activation(gate)) for gate in (i, f, o))
    c = f * c + i * gated(cell.activation, g)
    return [o * gated(cell.activation, c), c]


def _gru(cell, x, h):
    recurrent = tf.convert_to_tensor(cell.recurrent_kernel)
    given, added = (cell.bias[0], cell.bias[1]) if cell.reset_after else (cell.bias, tf.zeros_like(cell.bias))
    from_x = tf.split(x @ tf.convert_to_tensor(cell.kernel) + given, 3, axis=-1)
    from_h = tf.split(h @ recurrent + added, 3, axis=-1)
    update, reset = (tf.stop_gradient(cell.recurrent_activation(from_x[k] + from_h[k])) for k in (0, 1))
    read = reset * from_h[2] if cell.reset_after else (reset * h) @ recurrent[:, 2 * cell.units :]
    return [update * h + (1 - update) * gated(cell.activation, from_x[2] + read)]


def _simple(cell, x, h):
    z = x @ tf.convert_to_tensor(cell.kernel) + h @ tf.convert_to_tensor(cell.recurrent_kernel) + cell.bias
    return [gated(cell.activation, z)]


STEPS = {layers.LSTMCell: _lstm, layers.GRUCell: _gru, layers.SimpleRNNCell: _simple}
