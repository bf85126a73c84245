import pytest

from tests.whyserve.coverage.models import small_network
from whyserve.coverage.check import traced_operations
from whyserve.coverage.results import load_result
from whyserve.coverage.runner import Coverage

REGISTRY = "tests.whyserve.coverage.models:REGISTRY"


def test_operations_are_those_that_the_input_flows_through():
    operations, refused = traced_operations(small_network())
    assert operations["Conv2D"] == 1
    assert operations["Relu"] == 1
    assert "ReadVariableOp" not in operations
    assert refused == []


@pytest.mark.slow
def test_a_model_without_a_rule_fails_with_the_operation_and_its_layer(tmp_path):
    (result,) = Coverage(["unexplained"], tmp_path, [].append, registry=REGISTRY).run()
    assert result.refused == ["Cumprod"]
    assert result.status == "failed"
    assert result.reason.startswith("UnsupportedOperationError: No relevance rule for operation 'Cumprod' (layer ")
    assert load_result(tmp_path, "unexplained") == result


@pytest.mark.slow
def test_a_model_is_built_exported_checked_and_measured(tmp_path):
    (result,) = Coverage(["small"], tmp_path, [].append, registry=REGISTRY).run()
    assert result.passed, result.reason
    assert (result.input_size, result.parameters) == (8, 112 + 16 + 50)
    assert 0 < result.predictions <= 1e-5
    assert 0 < result.formats <= 1e-5
    assert 0 < result.reference <= 1e-4
    assert 0 < result.conservation <= 1e-4
    assert result.reference_name == "Keras (relevance in float64)"
    assert result.composite == "epsilon_plus"
    assert 0 <= result.rounding <= 1e-2
    assert 0 <= result.left_out <= 4
    assert result.ratios.keys() == result.predict_ms.keys() == {"onnxruntime", "tensorflow"}
    assert all(value > 0 for value in (*result.ratios.values(), *result.predict_ms.values()))
    assert result.bundle_mb > 0
    assert result.peak_memory_gb > 0.2


@pytest.mark.slow
def test_mobilenet_passes(tmp_path):
    (result,) = Coverage(["MobileNet"], tmp_path, [].append).run()
    assert result.passed, result.reason
    assert result.input_size == 32
    assert result.operations["DepthwiseConv2dNative"] == 13
