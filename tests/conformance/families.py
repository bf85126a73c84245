"""Small models of every kind of architecture that the registry of `models` has none of, as strangers build them.

Each function returns a model in the current dtype policy, and each `..._values` real-looking input for it. Sizes are
tiny: what counts is that every kind of operation stands in a network with others around it.
"""

import keras
import numpy as np
from keras import layers

from tests.explain import graph_models
from tests.explain.running import signal

TOKENS, WIDTH, FEATURES = 11, 8, 4


class Positions(layers.Layer):
    """Adds a learned vector to each position of a sequence of any length."""

    def __init__(self, longest=24, **options):
        super().__init__(**options)
        self.longest = longest
        self.supports_masking = True

    def build(self, shape):
        self.table = self.add_weight(shape=(self.longest, shape[-1]), name="table")

    def call(self, h):
        return h + self.table[: keras.ops.shape(h)[1]]

    def compute_output_spec(self, h):
        return keras.KerasTensor(h.shape, h.dtype)


def _input(shape, name):
    """In the precision of the policy's variables."""
    return keras.Input(shape, name=name, dtype=keras.config.dtype_policy().variable_dtype)


def residual():
    """Residual blocks with batch normalization before and after convolutions, and squeeze-and-excitation."""
    x = _input((8, 8, 2), "x")
    h = layers.Conv2D(6, 3, padding="same", use_bias=False)(layers.Rescaling(0.5, 0.1)(x))
    h = layers.ReLU()(layers.BatchNormalization()(h))
    y = layers.Conv2D(6, 3, padding="same")(layers.Activation("silu")(layers.BatchNormalization()(h)))
    y = layers.BatchNormalization()(y)
    gate = layers.Dense(3, activation="relu")(layers.GlobalAveragePooling2D(keepdims=True)(y))
    y = layers.Multiply()([y, layers.Dense(6, activation="sigmoid")(gate)])
    h = layers.ReLU()(layers.Add()([h, y]))
    short = layers.BatchNormalization()(layers.Conv2D(8, 1, strides=2)(h))
    h = layers.Add()([short, layers.Conv2D(8, 3, strides=2, padding="same")(h)])
    h = layers.GlobalAveragePooling2D()(layers.MaxPooling2D(3, 1, padding="same")(h))
    return keras.Model(x, layers.Dense(3)(h))


def convolutions():
    """Depthwise, separable, grouped, dilated and transposed convolutions."""
    x = _input((9, 9, 4), "x")
    h = layers.DepthwiseConv2D(3, padding="same", depth_multiplier=2, activation="relu")(x)
    h = layers.Conv2D(8, 3, groups=2, activation="elu")(h)
    h = layers.SeparableConv2D(6, 3, padding="same", dilation_rate=2, activation="gelu")(h)
    h = layers.Conv2DTranspose(4, 3, strides=2, padding="same", activation="leaky_relu")(h)
    h = layers.Conv2D(4, 3, strides=2, padding="same", dilation_rate=1, activation="hard_swish")(h)
    h = layers.AveragePooling2D(3, 2, padding="same")(h)
    return keras.Model(x, layers.Dense(3)(layers.Flatten()(h)))


def strided():
    """Convolutions and pooling that pad as much as their strides leave over, in sequences and images of any size."""
    s, x = _input((None, FEATURES), "s"), _input((None, None, 3), "x")
    options = {"strides": 2, "padding": "same"}
    left = layers.Conv1D(6, 3, activation="tanh", **options)(s)
    left = layers.AveragePooling1D(3, **options)(layers.MaxPooling1D(3, **options)(left))
    left = layers.SeparableConv1D(4, 3, **options)(left)
    right = layers.Conv2D(5, 3, activation="tanh", **options)(x)
    right = layers.AveragePooling2D(3, **options)(layers.MaxPooling2D(3, **options)(right))
    right = layers.DepthwiseConv2D(3, **options)(right)
    h = [layers.GlobalAveragePooling1D()(left), layers.GlobalAveragePooling2D()(right)]
    return keras.Model([s, x], layers.Dense(3)(layers.Concatenate()(h)))


def causal():
    """Dilated causal convolutions with residual connections, as WaveNet has them; the length is free."""
    x = _input((None, FEATURES), "x")
    h = layers.Conv1D(WIDTH, 2, padding="causal")(x)
    for rate in (1, 2):
        y = layers.Conv1D(WIDTH, 2, padding="causal", dilation_rate=rate, activation="tanh")(h)
        h = layers.Add()([h, layers.Conv1D(WIDTH, 1)(y)])
    h = layers.DepthwiseConv1D(3, padding="same")(layers.ReLU()(h))
    return keras.Model(x, layers.Dense(3)(layers.GlobalAveragePooling1D()(h)))


def recurrent():
    """Stacked LSTM, GRU of both forms and SimpleRNN, a dense layer at each step between; the length is free."""
    x = _input((None, FEATURES), "x")
    h = layers.LSTM(5, return_sequences=True)(x)
    h = layers.TimeDistributed(layers.Dense(5, activation="relu"))(h)
    h = layers.Add()(
        [layers.GRU(4, return_sequences=True)(h), layers.GRU(4, reset_after=False, return_sequences=True)(h)]
    )
    return keras.Model(x, layers.Dense(3)(layers.SimpleRNN(5)(h)))


def masked_bidirectional():
    """Tokens with padding, read from both sides; the length is free."""
    x = keras.Input((None,), dtype="int32", name="tokens")
    h = layers.Embedding(TOKENS, 5, mask_zero=True)(x)
    h = layers.Bidirectional(layers.LSTM(4, return_sequences=True))(h)
    h = layers.Bidirectional(layers.GRU(4), merge_mode="sum")(h)
    return keras.Model(x, layers.Dense(3)(h))


def _block(h, attention):
    """An encoder block that normalizes after each sum (Vaswani et al. 2017)."""
    h = layers.LayerNormalization()(layers.Add()([h, attention(h)]))
    y = layers.Dense(WIDTH)(layers.Dense(2 * WIDTH, activation="gelu")(h))
    return layers.LayerNormalization()(layers.Add()([h, y]))


def transformer():
    """An encoder block over tokens with padding; the length is free."""
    x = keras.Input((None,), dtype="int32", name="tokens")
    h = Positions()(layers.Embedding(TOKENS, WIDTH, mask_zero=True)(x))
    h = _block(h, lambda h: layers.MultiHeadAttention(2, 4)(h, h))
    return keras.Model(x, layers.Dense(3)(layers.GlobalAveragePooling1D()(h)))


def decoder():
    """A causal block that normalizes first, with fewer keys than queries and a gated MLP (Touvron et al. 2023)."""
    x = _input((None, WIDTH), "x")
    h = layers.Dense(WIDTH)(x)
    y = layers.RMSNormalization()(h)
    h = layers.Add()([h, layers.GroupQueryAttention(4, 4, 2)(y, y, use_causal_mask=True)])
    y = layers.RMSNormalization()(h)
    y = layers.Multiply()([layers.Dense(WIDTH, activation="silu")(y), layers.Dense(WIDTH)(y)])
    h = layers.Add()([h, layers.Dense(WIDTH)(y)])
    return keras.Model(x, layers.Dense(3)(layers.GlobalMaxPooling1D()(h)))


def graph_convolution():
    """Two graph convolutions (Kipf and Welling 2017) with the adjacency as an input."""
    x = _input((graph_models.NODES, graph_models.FEATURES), "x")
    a = _input((graph_models.NODES, graph_models.NODES), "a")
    h = x
    for units in (6, 5):
        h = layers.ReLU()(keras.ops.matmul(a, layers.Dense(units)(h)))
    return keras.Model([x, a], layers.Dense(3)(layers.GlobalAveragePooling1D()(h)))


def message_passing():
    """A message of each edge from both of its ends, added up where it arrives."""
    x = _input((graph_models.NODES, graph_models.FEATURES), "x")
    ends = keras.Input((graph_models.EDGES, 2), name="edges", dtype="int32")
    source, target = (graph_models.Messages()(x, ends[..., side]) for side in (0, 1))
    messages = layers.Dense(6, activation="relu")(layers.Concatenate()([source, target]))
    h = layers.Concatenate()([x, graph_models.Gathered()(messages, ends[..., 1])])
    h = layers.GlobalAveragePooling1D()(layers.Dense(6, activation="relu")(h))
    return keras.Model([x, ends], layers.Dense(3)(h))


def shared():
    """Two inputs through one nested model, two outputs."""
    inner_input = _input((6,), None)
    inner = keras.Model(
        inner_input, layers.Dense(5, activation="tanh")(layers.Dense(8, activation="relu")(inner_input))
    )
    x, y = _input((6,), "x"), _input((6,), "y")
    left, right = inner(x), inner(y)
    both = layers.Concatenate()([layers.Subtract()([left, right]), layers.Average()([left, right])])
    both = layers.Concatenate()([both, layers.Maximum()([left, right])])
    h = layers.Dense(8, activation="softplus")(both)
    return keras.Model([x, y], [layers.Dense(3, name="scores")(h), layers.Dense(1, name="height")(both)])


def image_values(size, channels):
    """Images of a given size."""
    return lambda batch, _length: {"x": signal(batch, size, size, channels, seed=batch)}


def strided_values(batch, length):
    """Sequences, and images of another height than width."""
    return {
        "s": signal(batch, length, FEATURES, seed=length),
        "x": signal(batch, length, length + 2, 3, seed=length + 1),
    }


def sequence_values(width):
    """Sequences of vectors."""
    return lambda batch, length: {"x": signal(batch, length, width, seed=length)}


def token_values(batch, length):
    """Sequences of tokens, each padded with zeros to another length."""
    tokens = np.random.default_rng(length).integers(1, TOKENS, (batch, length)).astype(np.int32)
    return {"tokens": np.where(np.arange(length) < length - np.arange(batch)[:, None] % 3, tokens, 0)}


def graph_values(batch, _length):
    """Nodes and an adjacency for each example."""
    nodes = signal(batch, graph_models.NODES, graph_models.FEATURES, seed=batch)
    return {"x": 4 * nodes, "a": np.stack([graph_models.adjacency(seed) for seed in range(batch)])}


def edge_values(batch, _length):
    """Nodes and a list of edges for each example."""
    nodes = signal(batch, graph_models.NODES, graph_models.FEATURES, seed=batch)
    return {"x": 4 * nodes, "edges": graph_models.with_loops(graph_models.edges(batch, seed=batch))}


def pair_values(batch, _length):
    """Two vectors."""
    return {name: signal(batch, 6, seed=seed) for seed, name in enumerate("xy", start=batch)}
