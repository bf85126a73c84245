"""Graph networks as strangers write them: their own layers from `keras.ops` and TensorFlow operations."""

import keras
import numpy as np
import tensorflow as tf
from keras import layers, ops

NODES, FEATURES, UNITS, EDGES, CLASSES = 5, 3, 4, 9, 2


# Ways to read the nodes at the ends of edges, and to add up what arrives.
WAYS = [
    ("tf.gather", "segment_sum"),
    ("take_along_axis", "scatter"),
    ("gather_nd", "scatter_add"),
    ("flat", "sorted"),
    ("tf.gather", "segment_max"),
    ("one_hot", "segment_sum"),
]


def adjacency(seed=0):
    """Symmetrically normalised with self-loops (Kipf and Welling 2017), `(nodes, nodes) float64`."""
    links = np.random.default_rng(seed).uniform(size=(NODES, NODES)) < 0.3
    links = links | links.T | np.eye(NODES, dtype=bool)
    scale = 1 / np.sqrt(links.sum(axis=1))
    return scale[:, None] * links * scale[None]


def with_loops(ends):
    """The same with an edge from each node to itself first: every node receives a message."""
    loops = np.broadcast_to(np.arange(NODES, dtype=np.int32)[:, None, None], (NODES, 2, len(ends))).transpose(2, 0, 1)
    return np.concatenate([loops, ends[:, : EDGES - NODES]], axis=1)


def edges(batch, seed=0, length=EDGES):
    """Source and target of each edge, `(batch, edges, 2) int32`; some nodes have none, some edges repeat."""
    return np.random.default_rng(seed).integers(0, NODES - 1, (batch, length, 2)).astype(np.int32)


class Aggregation(layers.Layer):
    """Product with a constant adjacency, dense or sparse."""

    def __init__(self, form, **options):
        super().__init__(**options)
        self.form = form

    def call(self, h):
        if self.form == "dense":
            return ops.matmul(ops.convert_to_tensor(adjacency(), h.dtype), h)
        sparse = tf.sparse.from_dense(adjacency().astype(h.dtype.as_numpy_dtype))
        columns = tf.reshape(tf.transpose(h, [1, 0, 2]), [NODES, -1])  # (nodes, batch * units)
        if self.form == "sparse":
            product = tf.sparse.sparse_dense_matmul(sparse, columns)
        else:
            product = ops.matmul(sparse, columns)
        return tf.transpose(tf.reshape(product, [NODES, -1, h.shape[-1]]), [1, 0, 2])

    def compute_output_spec(self, h):
        return keras.KerasTensor(h.shape, h.dtype)


class Messages(layers.Layer):
    """What lies at the edges' ends: `(batch, edges, units)` each."""

    def __init__(self, gather="tf.gather", **options):
        super().__init__(**options)
        self.gather = gather

    def call(self, h, ends):
        if self.gather == "take_along_axis":
            return ops.take_along_axis(h, ends[..., None], axis=1)
        if self.gather == "gather_nd":
            return tf.gather_nd(h, ends[..., None], batch_dims=1)
        if self.gather == "one_hot":
            return ops.matmul(ops.one_hot(ends, NODES, dtype=h.dtype), h)
        if self.gather == "flat":
            flat = ops.reshape(h, (-1, h.shape[-1]))
            return ops.reshape(ops.take(flat, _numbered(ends), axis=0), (-1, ends.shape[1], h.shape[-1]))
        return tf.gather(h, ends, batch_dims=1)

    def compute_output_spec(self, h, ends):
        return keras.KerasTensor((*ends.shape, h.shape[-1]), h.dtype)


class Gathered(layers.Layer):
    """Messages added up (or their largest) at the node where they arrive, `(batch, nodes, units)`."""

    def __init__(self, reduce="segment_sum", **options):
        super().__init__(**options)
        self.reduce = reduce

    def call(self, messages, ends):
        units = messages.shape[-1]
        rows, ids = ops.reshape(messages, (-1, units)), ops.reshape(_numbered(ends), (-1,))
        count = ops.shape(messages)[0] * NODES
        match self.reduce:
            case "segment_sum" | "segment_max":
                found = getattr(ops, self.reduce)(rows, ids, num_segments=count)
            case "scatter":
                found = tf.scatter_nd(ids[:, None], rows, [count, units])
            case "scatter_add":
                found = tf.tensor_scatter_nd_add(tf.zeros([count, units], rows.dtype), ids[:, None], rows)
            case "sorted":
                order = tf.argsort(ids, stable=True)  # every node has an edge: a loop to itself was added
                found = ops.segment_sum(tf.gather(rows, order), tf.gather(ids, order), sorted=True)
        return ops.reshape(found, (-1, NODES, units))

    def compute_output_spec(self, messages, ends):
        return keras.KerasTensor((messages.shape[0], NODES, messages.shape[-1]), messages.dtype)


class EdgeSoftmax(layers.Layer):
    """Weights of the edges that arrive at one node, in total one: exp(s) / sum exp(s), shifted by the largest."""

    def call(self, scores, ends):
        batch = ops.shape(scores)[0]
        flat, ids = ops.reshape(scores, (-1,)), ops.reshape(_numbered(ends), (-1,))
        largest = ops.segment_max(flat, ids, num_segments=batch * NODES)
        exponential = ops.exp(flat - ops.take(largest, ids))
        total = ops.segment_sum(exponential, ids, num_segments=batch * NODES)
        return ops.reshape(exponential / ops.take(total, ids), ops.shape(scores))

    def compute_output_spec(self, scores, ends):
        return keras.KerasTensor(scores.shape, scores.dtype)


def _numbered(ends):
    """Nodes of the whole batch, numbered one example after the other."""
    return ends + (ops.arange(ops.shape(ends)[0], dtype="int32") * NODES)[:, None]


def convolution(form, dtype="float64", *, bias=True):
    """A graph convolution with a constant adjacency, relu(A x W + b), its nodes averaged, below a dense layer."""
    x = keras.Input((NODES, FEATURES), name="x", dtype=dtype)
    h = layers.Dense(UNITS, use_bias=False, dtype=dtype, name="kernel")(x)
    h = Aggregation(form, dtype=dtype)(h)
    h = layers.ReLU(dtype=dtype)(Bias(dtype=dtype, name="bias")(h) if bias else h)
    return keras.Model(x, layers.Dense(CLASSES, dtype=dtype, name="head")(_mean(h, dtype)))


class Bias(layers.Layer):
    """Adds a bias to each channel."""

    def build(self, shape):
        self.bias = self.add_weight(shape=(shape[-1],), name="bias")

    def call(self, h):
        return h + self.bias


def adjacency_input(dtype="float64"):
    """The same with the adjacency as an input."""
    x = keras.Input((NODES, FEATURES), name="x", dtype=dtype)
    a = keras.Input((NODES, NODES), name="a", dtype=dtype)
    h = layers.Dense(UNITS, use_bias=False, dtype=dtype, name="kernel")(x)
    h = layers.ReLU(dtype=dtype)(ops.matmul(a, h))
    return keras.Model([x, a], layers.Dense(CLASSES, use_bias=False, dtype=dtype, name="head")(_mean(h, dtype)))


def message_passing(dtype="float64", gather="tf.gather", reduce="segment_sum", *, weighted=False):
    """A message of each edge from both of its ends, added up where it arrives."""
    x = keras.Input((NODES, FEATURES), name="x", dtype=dtype)
    ends = keras.Input((EDGES, 2), name="edges", dtype="int32")
    inputs = [x, ends]
    source, target = (Messages(gather, dtype=dtype)(x, ends[..., side]) for side in (0, 1))
    messages = layers.Concatenate(dtype=dtype)([source, target])
    messages = layers.Dense(UNITS, activation="relu", dtype=dtype, name="message")(messages)
    if weighted:
        weights = keras.Input((EDGES,), name="weights", dtype=dtype)
        inputs.append(weights)
        messages = messages * weights[..., None]
    h = Gathered(reduce, dtype=dtype)(messages, ends[..., 1])
    h = layers.Dense(UNITS, activation="relu", dtype=dtype, name="update")(layers.Concatenate(dtype=dtype)([x, h]))
    return keras.Model(inputs, layers.Dense(CLASSES, dtype=dtype, name="head")(_mean(h, dtype)))


def attention(dtype="float64"):
    """Graph attention (Velickovic et al. 2018): edges weighted by a softmax over those that arrive at a node."""
    x = keras.Input((NODES, FEATURES), name="x", dtype=dtype)
    ends = keras.Input((EDGES, 2), name="edges", dtype="int32")
    h = layers.Dense(UNITS, use_bias=False, dtype=dtype, name="kernel")(x)
    source, target = (Messages(dtype=dtype)(h, ends[..., side]) for side in (0, 1))
    scores = layers.Dense(1, use_bias=False, dtype=dtype, name="score")(
        layers.Concatenate(dtype=dtype)([source, target])
    )
    scores = ops.leaky_relu(scores, 0.2)[..., 0]
    weights = EdgeSoftmax(dtype=dtype)(scores, ends[..., 1])
    h = layers.ReLU(dtype=dtype)(Gathered(dtype=dtype)(source * weights[..., None], ends[..., 1]))
    return keras.Model([x, ends], layers.Dense(CLASSES, use_bias=False, dtype=dtype, name="head")(_mean(h, dtype)))


def every_convolution(dtype="float64"):
    """Graph convolutions of every sparse form on one input, averaged."""
    x = keras.Input((NODES, FEATURES), name="x", dtype=dtype)
    scores = [convolution(form, dtype)(x) for form in ("sparse", "keras sparse")]
    return keras.Model(x, layers.Average(dtype=dtype)(scores))


def every_message_passing(dtype="float64"):
    """Message passing written in several ways, averaged."""
    x = keras.Input((NODES, FEATURES), name="x", dtype=dtype)
    ends = keras.Input((EDGES, 2), name="edges", dtype="int32")
    ways = [("take_along_axis", "scatter"), ("gather_nd", "segment_max"), ("flat", "sorted")]
    scores = [message_passing(dtype, gather, reduce)([x, ends]) for gather, reduce in ways]
    return keras.Model([x, ends], layers.Average(dtype=dtype)(scores))


def _mean(h, dtype):
    return layers.GlobalAveragePooling1D(dtype=dtype)(h)
