"""The exported graphs explain as float64 does: SavedModel and ONNX, in the engines that serve them.

float32 against float64, so on real digits that the network was trained on the like of: where a pre-activation crosses
zero epsilon-LRP jumps, as a gradient does, and no tolerance would hold.
"""

import keras
import numpy as np
import pytest

from export.bundle import export_bundle
from serving.engines.registry import create_engine
from tests.conformance.cases import CASES, ENGINES, double_model, samples, small_model
from tests.explain.running import explain, worst

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


@pytest.fixture(params=CASES, ids=lambda case: case.name)
def exported(request, tmp_path):
    """The case, its float64 model, and every engine's loaded bundle of the same weights in float32."""
    case, folder = request.param, tmp_path
    single = keras.models.clone_model(small_model(case))
    single.set_weights([np.asarray(value, np.float32) for value in double_model(case).get_weights()])
    single.save(folder / "model.keras")
    path = export_bundle(
        folder / "model.keras", repository=folder / "repository", name="case", composite="epsilon_plus"
    )
    loaded = {name: create_engine(name, device="cpu", num_threads=1).load(path) for name in ENGINES}
    yield case, loaded
    for model in loaded.values():
        model.close()


def test_exported_relevance_equals_float64(exported):
    case, loaded = exported
    for batch in (1, 7):
        images = samples(batch)
        expected = explain(double_model(case), images, composite="epsilon_plus")
        found = {name: model.run("explain", {"image": images}, NAMES) for name, model in loaded.items()}
        for result in found.values():
            assert worst(result["relevance"], expected["relevance"]) < SINGLE_AGAINST_DOUBLE
            np.testing.assert_allclose(result["probabilities"], expected["probabilities"], atol=1e-5)
            np.testing.assert_allclose(result["explained_value"], expected["explained_value"], rtol=1e-4)
            np.testing.assert_array_equal(result["target"], expected["target"])
        first, *others = found.values()
        for other in others:
            assert worst(other["relevance"], first["relevance"]) < ENGINE_AGAINST_ENGINE
    images, target = samples(3), np.array([4, -1, 0], np.int32)
    expected = explain(double_model(case), images, target=target, composite="epsilon_plus")
    for model in loaded.values():
        result = model.run("explain_target", {"image": images, "target": target}, NAMES)
        assert worst(result["relevance"], expected["relevance"]) < SINGLE_AGAINST_DOUBLE
        np.testing.assert_array_equal(result["target"], expected["target"])
