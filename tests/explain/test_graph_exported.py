"""Graph networks in the engines that serve them, float32 against float64."""

import numpy as np
import pytest

from explain.composites import Assignment, Composite
from explain.rules import Rule
from tests.explain.exporting import engines_of
from tests.explain.graph_models import (
    EDGES,
    FEATURES,
    NODES,
    adjacency,
    adjacency_input,
    attention,
    edges,
    every_convolution,
    every_message_passing,
    message_passing,
    with_loops,
)
from tests.explain.running import explain, randomized, signal, worst

SHARING = Composite("sharing", (Assignment(Rule("epsilon")),), structure="share")
MODELS = {
    "convolutions": (every_convolution, "epsilon"),
    "adjacency": (adjacency_input, SHARING),
    "messages": (every_message_passing, "epsilon"),
    "weighted": (lambda dtype: message_passing(dtype, weighted=True), SHARING),
    "attention": (attention, "attnlrp"),
}


@pytest.mark.slow
@pytest.mark.filterwarnings(
    "ignore:__array__ implementation doesn't accept a copy keyword:DeprecationWarning:keras.src.backend.tensorflow.core"
)
@pytest.mark.parametrize("name", MODELS)
def test_exported_relevance_of_graphs_equals_double_precision(name, tmp_path):
    build, composite = MODELS[name]
    double_model, single = randomized(build("float64")), build("float32")
    single.set_weights([np.asarray(weight, np.float32) for weight in double_model.get_weights()])
    engines = engines_of(single, tmp_path, composite=composite)
    for batch in (1, 7):
        arrays = {
            "x": 4 * signal(batch, NODES, FEATURES, seed=batch),
            "a": np.stack([adjacency(seed) for seed in range(batch)]),
            "edges": with_loops(edges(batch, seed=batch)),
            "weights": signal(batch, EDGES, seed=2),
        }
        names = [tensor.name for tensor in single.inputs]
        target = (np.arange(batch) % 2).astype(np.int32)
        reference = explain(double_model, *(arrays[n] for n in names), target=target, composite=composite)
        floats = {n: a if a.dtype == np.int32 else a.astype(np.float32) for n, a in arrays.items() if n in names}
        found = [engine({**floats, "target": target}) for engine in engines]
        for key in found[0]:
            if key == "relevance_edges":
                assert all((relevance[key] == 0).all() for relevance in found)
                continue
            for relevance in found:
                assert worst(relevance[key], reference[key]) < 1e-4
            assert worst(found[1][key], found[0][key]) < 1e-5
        assert np.abs(reference.get("relevance_x", reference.get("relevance"))).max() > 1e-3
