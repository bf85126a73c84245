"""Multi-head attention with what is no signal held fixed, for `tests.oracles.gradient`."""

import tensorflow as tf
from keras import layers

BLOCKED = -1e9


def attend(layer, query, value, *, mask, attention, use_causal_mask=False):
    """Self-attention of several heads, with as many keys as queries or fewer.

    Args:
        layer: MultiHeadAttention or GroupQueryAttention.
        query: `(batch, time, width)`.
        value: The same shape; keys are made of it, too.
        mask: bool `(batch, time)` of both, or None.
        attention: `gate`: the weights of attention are constants; `uniform`: each factor of a product counts half.
        use_causal_mask: No position sees a later one.
    """
    q = _projected(layer._query_dense, "btd,dnh->btnh", query)
    k, v = (_projected(dense, "btd,dnh->btnh", value) for dense in (layer._key_dense, layer._value_dense))
    if isinstance(layer, layers.GroupQueryAttention):
        k, v = (tf.repeat(part, layer.num_repeats, axis=2) for part in (k, v))
    scores = _product("bqnh,bknh->bnqk", q, k) / tf.sqrt(tf.cast(q.shape[-1], q.dtype))
    allowed = tf.ones(scores.shape[-2:], tf.bool)
    if use_causal_mask:
        allowed = tf.linalg.band_part(allowed, -1, 0)
    if mask is not None:
        allowed = allowed & mask[:, None, None, :] & mask[:, None, :, None]
    weights = tf.nn.softmax(tf.where(allowed, scores, tf.constant(BLOCKED, scores.dtype)))
    if attention == "gate":
        context = tf.einsum("bnqk,bknh->bqnh", tf.stop_gradient(weights), v)
    else:
        context = _product("bnqk,bknh->bqnh", weights, v)
    return _projected(layer._output_dense, "btnh,nhd->btd", context)


def _projected(dense, equation, x):
    return tf.einsum(equation, x, tf.convert_to_tensor(dense.kernel)) + tf.convert_to_tensor(dense.bias)


def _product(equation, a, b):
    held = tf.stop_gradient(a), tf.stop_gradient(b)
    return (tf.einsum(equation, a, held[1]) + tf.einsum(equation, held[0], b)) / 2
