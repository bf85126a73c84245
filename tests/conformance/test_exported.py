"""The exported graphs explain as float64 does: SavedModel and ONNX, in the engines that serve them.

float32 against float64, so on real digits that the network was trained on the like of, or on generic input: where a
pre-activation crosses zero epsilon-LRP jumps, as a gradient does, and no tolerance would hold.
"""

import numpy as np
import pytest

from export.bundle import export_bundle
from serving.engines.registry import create_engine
from tests.conformance.cases import CASES, ENGINES, model_in
from tests.conformance.tracing import explanation, relevances
from tests.explain.exporting import engines_of
from tests.explain.running import worst

pytestmark = [
    pytest.mark.slow,
    # Keras 3.15 copies variables with an __array__ that NumPy 2.4 calls old-fashioned whenever it saves weights.
    pytest.mark.filterwarnings(
        "ignore:__array__ implementation doesn't accept a copy keyword:"
        "DeprecationWarning:keras.src.backend.tensorflow.core"
    ),
]

SINGLE_AGAINST_DOUBLE = 1e-4
ENGINE_AGAINST_ENGINE = 1e-5
NAMES = ("probabilities", "relevance", "target", "explained_value", "conservation_gap")


def from_bundle(case, folder):
    """Every engine with the bundle of a registered architecture, which is written, checked and loaded as in service."""
    model_in(case, "float32").save(folder / "model.keras")
    path = export_bundle(
        folder / "model.keras", repository=folder / "repository", name="case", composite=case.composite
    )
    loaded = [create_engine(name, device="cpu", num_threads=1).load(path) for name in ENGINES]
    return [lambda inputs, model=model: model.run("explain_target", inputs, NAMES) for model in loaded], loaded


@pytest.fixture(params=CASES, ids=lambda case: case.name, scope="module")
def exported(request, tmp_path_factory):
    """The case, and a function for each engine; one export serves all tests."""
    case, folder = request.param, tmp_path_factory.mktemp("exported")
    if case.architecture:
        engines, loaded = from_bundle(case, folder)
    else:
        model = model_in(case, "float32")
        engines, loaded = engines_of(model, folder, composite=case.composite, output=case.output), []
    yield case, engines
    for model in loaded:
        model.close()


def run(case, engine, inputs, target):
    """What an engine answers, relevance by the inputs' names."""
    floats = {name: v if v.dtype.kind == "i" else v.astype(np.float32) for name, v in inputs.items()}
    result = engine({**floats, "target": np.broadcast_to(target, [len(next(iter(inputs.values())))]).astype(np.int32)})
    return relevances(case, result), result


def test_exported_relevance_equals_float64(exported):
    case, engines = exported
    for batch, length in zip((1, 7), case.lengths * 2, strict=False):
        inputs, target = case.samples(batch, length), np.array([-1, 0, 1, -1, 2, 0, -1])[:batch]
        reference = explanation(case)(inputs, target)
        found = []
        for engine in engines:
            relevance, result = run(case, engine, inputs, target)
            found.append({name: values.astype(np.float64) for name, values in relevance.items()})
            for name, expected in relevances(case, reference).items():
                assert worst(relevance[name], expected) < SINGLE_AGAINST_DOUBLE, (name, batch)
            for name in {"probabilities", "explained_value", "target"} & result.keys():
                np.testing.assert_allclose(result[name], reference[name], rtol=1e-4, atol=1e-5)
        for name, relevance in found[0].items():
            assert worst(found[1][name], relevance) < ENGINE_AGAINST_ENGINE, (name, batch)


def test_nothing_is_nan_for_input_that_no_one_expects(exported):
    """All zeros (dead units), all ones (ties), numbers of a million (saturated gates).

    Tokens are as they are: of padding alone Keras' own mean over no step is NaN.
    """
    case, engines = exported
    for size in (0.0, 1.0, 1e6, -1e6):
        inputs = {n: v if v.dtype.kind == "i" else np.full_like(v, size) for n, v in case.samples(2).items()}
        for engine in engines:
            relevance, _ = run(case, engine, inputs, -1)
            assert all(np.isfinite(values).all() for values in relevance.values()), size
