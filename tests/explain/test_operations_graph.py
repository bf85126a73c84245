import numpy as np
import pytest

from explain.composites import Assignment, Composite
from explain.rules import Rule
from tests.explain.graph_models import (
    CLASSES,
    EDGES,
    FEATURES,
    NODES,
    UNITS,
    WAYS,
    adjacency,
    adjacency_input,
    attention,
    convolution,
    edges,
    message_passing,
    with_loops,
)
from tests.explain.running import RULE_TOLERANCE, explain, randomized, signal, worst
from tests.oracles import graph as oracle

EPSILON = 1e-4
BATCH, TARGET = 3, 1
SHARING = Composite("sharing", (Assignment(Rule("epsilon", {"epsilon": EPSILON})),), structure="share")


def weights_of(model):
    """The weights by layer: kernel, then bias where there is one."""
    return {layer.name: [np.asarray(w, np.float64) for w in layer.get_weights()] for layer in model.layers}


@pytest.mark.parametrize("form", ["dense", "sparse", "keras sparse"])
@pytest.mark.parametrize("bias", [True, False])
def test_graph_convolution_with_a_constant_adjacency_equals_the_oracle(form, bias):
    model, x = randomized(convolution(form, bias=bias)), 4 * signal(BATCH, NODES, FEATURES)
    weights, A = weights_of(model), adjacency()
    offset = weights["bias"][0] if bias else None
    result = explain(model, x, target=TARGET, composite="epsilon", epsilon=EPSILON)
    for index, example in enumerate(x):
        h = example @ weights["kernel"][0]
        z = A @ h + (0 if offset is None else offset)
        R, score = oracle.head(np.maximum(z, 0), *weights["head"], TARGET, EPSILON)
        # Columns of a whole batch side by side can't hold a bias, which is then a summand of its own; a product that is
        # written out by edges is a sum with the stabiliser of sums.
        rest = offset if form == "dense" else None
        if bias and rest is None:
            R = R * (z - offset) / oracle.stable(z, oracle.NORM)
        R = oracle.aggregated(A, h, rest, R, oracle.NORM if form == "keras sparse" else EPSILON)
        expected = oracle.dense(example, weights["kernel"][0], None, R, EPSILON)
        assert worst(result["relevance"][index], expected) < RULE_TOLERANCE
        np.testing.assert_allclose(result["explained_value"][index], score, rtol=1e-10)
    assert np.abs(result["relevance"]).max() > 1e-2


def test_an_adjacency_input_is_a_gate_unless_edges_are_asked_for():
    model, x = randomized(adjacency_input()), signal(BATCH, NODES, FEATURES)
    weights, A = weights_of(model), np.stack([adjacency(seed) for seed in range(BATCH)])
    nodes = explain(model, x, A, target=TARGET, composite="epsilon", epsilon=EPSILON)
    both = explain(model, x, A, target=TARGET, composite=SHARING)
    assert (nodes["relevance_a"] == 0).all()
    for index, example in enumerate(x):
        h = example @ weights["kernel"][0]
        R, _ = oracle.head(np.maximum(A[index] @ h, 0), *weights["head"], None, TARGET, EPSILON)
        to_h = oracle.aggregated(A[index], h, None, R, oracle.NORM)
        expected = oracle.dense(example, weights["kernel"][0], None, to_h, EPSILON)
        assert worst(nodes["relevance_x"][index], expected) < RULE_TOLERANCE
        to_a, to_h = oracle.aggregated_by_half(A[index], h, R)
        assert worst(both["relevance_a"][index], to_a) < RULE_TOLERANCE
        expected = oracle.dense(example, weights["kernel"][0], None, to_h, EPSILON)
        assert worst(both["relevance_x"][index], expected) < RULE_TOLERANCE


def expected_of_messages(model, example, ends, reduce, target=TARGET, factors=None):
    """Relevance of one example's nodes, and of each edge's message."""
    weights = weights_of(model)
    source, destination = ends.T
    read = np.concatenate([example[source], example[destination]], axis=1)
    messages = np.maximum(read @ weights["message"][0] + weights["message"][1], 0)
    messages = messages if factors is None else messages * factors[:, None]
    rows = [[m for m, d in zip(messages, destination, strict=True) if d == n] for n in range(NODES)]
    combine = np.sum if reduce != "segment_max" else np.max
    h = np.stack([combine(r, axis=0) if r else np.zeros(UNITS) for r in rows])
    both = np.concatenate([example, h], axis=1)
    updated = np.maximum(both @ weights["update"][0] + weights["update"][1], 0)
    R, score = oracle.head(updated, *weights["head"], target, EPSILON)
    R = oracle.dense(both, *weights["update"], R, EPSILON)
    own, received = R[:, :FEATURES], R[:, FEATURES:]
    share = oracle.largest if reduce == "segment_max" else oracle.summed
    R_messages = share(messages, destination, received)
    R_read = oracle.dense(read, *weights["message"], R_messages, EPSILON)
    own = own + oracle.collected(R_read[:, :FEATURES], source, NODES)
    return own + oracle.collected(R_read[:, FEATURES:], destination, NODES), R_messages, score


@pytest.mark.parametrize(("gather", "reduce"), WAYS)
def test_message_passing_equals_the_oracle_however_it_is_written(gather, reduce):
    model, x = randomized(message_passing(gather=gather, reduce=reduce)), signal(BATCH, NODES, FEATURES)
    ends = with_loops(edges(BATCH)) if reduce in {"sorted", "segment_max"} else edges(BATCH)
    result = explain(model, x, ends, target=TARGET, composite="epsilon", epsilon=EPSILON)
    assert result["relevance_edges"].shape == ends.shape
    assert (result["relevance_edges"] == 0).all()
    for index in range(BATCH):
        expected, _, score = expected_of_messages(model, x[index], ends[index], reduce)
        # A product with one-hot rows is a sum with a stabiliser of its own.
        assert worst(result["relevance_x"][index], expected) < (1e-4 if gather == "one_hot" else RULE_TOLERANCE)
        np.testing.assert_allclose(result["explained_value"][index], score, rtol=1e-10)


def test_weights_of_edges_take_nothing_unless_asked_for():
    model, x, ends = randomized(message_passing(weighted=True)), signal(BATCH, NODES, FEATURES), edges(BATCH)
    factors = signal(BATCH, EDGES, seed=5)
    nodes = explain(model, x, ends, factors, target=TARGET, composite="epsilon", epsilon=EPSILON)
    both = explain(model, x, ends, factors, target=TARGET, composite=SHARING)
    assert (nodes["relevance_weights"] == 0).all()
    for index in range(BATCH):
        expected, messages, _ = expected_of_messages(model, x[index], ends[index], "", factors=factors[index])
        assert worst(both["relevance_weights"][index], messages.sum(axis=1) / 2) < RULE_TOLERANCE
        assert worst(nodes["relevance_x"][index], expected) < RULE_TOLERANCE


@pytest.mark.parametrize("composite", ["cp_lrp", "attnlrp"])
def test_graph_attention_equals_the_oracle(composite):
    model, x, ends = randomized(attention()), signal(BATCH, NODES, FEATURES), edges(BATCH)
    weights = weights_of(model)
    result = explain(model, x, ends, target=TARGET, composite=composite, epsilon=EPSILON)
    for index, example in enumerate(x):
        source, destination = ends[index].T
        h = example @ weights["kernel"][0]
        read = np.concatenate([h[source], h[destination]], axis=1)
        raw = read @ weights["score"][0]
        scores = np.where(raw > 0, raw, 0.2 * raw)
        alpha = oracle.edge_softmax(scores[:, 0], destination)
        messages = h[source] * alpha[:, None]
        z = np.zeros((NODES, UNITS))
        np.add.at(z, destination, messages)
        R, _ = oracle.head(np.maximum(z, 0), *weights["head"], None, TARGET, EPSILON)
        R = oracle.summed(messages, destination, R)
        to_h = oracle.collected(R if composite == "cp_lrp" else R / 2, source, NODES)
        if composite == "attnlrp":
            R_scores = oracle.edge_softmax_relevance(scores[:, 0], destination, R.sum(axis=1) / 2)[:, None]
            R_read = oracle.dense(read, weights["score"][0], None, R_scores, EPSILON)
            to_h += oracle.collected(R_read[:, :UNITS], source, NODES)
            to_h += oracle.collected(R_read[:, UNITS:], destination, NODES)
        expected = oracle.dense(example, weights["kernel"][0], None, to_h, EPSILON)
        assert worst(result["relevance_x"][index], expected) < 1e-8  # sums of weighted messages are close to zero


def test_a_degree_is_a_normaliser_in_every_spelling():
    """Kipf and Welling's normalisation by edges: nothing is lost to the degrees, and positions hold nothing."""
    import keras
    from keras import layers, ops

    from tests.explain.graph_models import Gathered, Messages

    class Degree(layers.Layer):
        def call(self, ends):
            ones = ops.cast(ops.ones_like(ends[..., None]), "float64")
            return Gathered(dtype="float64")(ones, ends) + 1.0

        def compute_output_spec(self, ends):
            return keras.KerasTensor((None, NODES, 1), "float64")

    def build(normalize):
        x = keras.Input((NODES, FEATURES), name="x", dtype="float64")
        ends = keras.Input((EDGES, 2), name="edges", dtype="int32")
        degree = Degree(dtype="float64")(ends[..., 1])
        read = Messages(dtype="float64")
        messages = normalize(read(x, ends[..., 0]), lambda side: read(degree, ends[..., side]))
        h = Gathered(dtype="float64")(messages, ends[..., 1])
        head = layers.Dense(CLASSES, use_bias=False, dtype="float64")
        return randomized(keras.Model([x, ends], head(layers.GlobalAveragePooling1D(dtype="float64")(h))))

    spellings = {
        "rsqrt": lambda m, degree: m * (ops.rsqrt(degree(0)) * ops.rsqrt(degree(1))),
        "power": lambda m, degree: m * ops.power(degree(0), -0.5) * ops.power(degree(1), -0.5),
        "division": lambda m, degree: m / ops.sqrt(degree(0)) / ops.sqrt(degree(1)),
    }
    x, ends = 10 * signal(BATCH, NODES, FEATURES), edges(BATCH)
    results = [explain(build(spell), x, ends, target=TARGET, composite="epsilon") for spell in spellings.values()]
    for result in results:
        assert worst(result["relevance_x"], results[0]["relevance_x"]) < RULE_TOLERANCE
        np.testing.assert_allclose(result["relevance_x"].sum(axis=(1, 2)), result["explained_value"], rtol=1e-4)
