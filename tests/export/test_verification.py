import dataclasses
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest

from export.errors import ConversionError, IntegrityError, ManifestError, ParityError
from export.manifest import digest_files, load_manifest, save_manifest
from export.verification import verify_bundle


def sealed_again(bundle: Path) -> None:
    """Digests that fit the spoiled files, so that only what they compute can tell."""
    save_manifest(dataclasses.replace(load_manifest(bundle), files=digest_files(bundle)), bundle)


def spoil(path: Path, change: Callable[[np.ndarray], None]) -> None:
    """Change a kernel of the convolution, which every example goes through."""
    model = onnx.load(path)
    kernel = next(tensor for tensor in model.graph.initializer if len(tensor.dims) == 4)
    values = onnx.numpy_helper.to_array(kernel).copy()
    change(values)
    kernel.CopyFrom(onnx.numpy_helper.from_array(values, kernel.name))
    onnx.save(model, path)


def test_a_good_bundle_passes_and_the_report_is_json(bundle: Path) -> None:
    lines: list[str] = []
    report = verify_bundle(bundle, lines.append)
    assert (report.name, report.version) == ("digits", 1)
    assert report.files == len(load_manifest(bundle).files)
    assert lines[-1] == "verified"
    assert json.loads(json.dumps(dataclasses.asdict(report)))["parity"]["cases"] == report.parity.cases
    compared = {(c.signature, c.output, c.left, c.right) for c in report.parity.comparisons}
    assert ("explain", "relevance", "recorded Keras", "ONNX") in compared
    assert ("explain_target", "relevance", "SavedModel", "ONNX") in compared
    assert all(comparison.relative <= comparison.tolerance for comparison in report.parity.comparisons)


def test_conservation_is_reported_layer_by_layer(bundle: Path) -> None:
    conservation = verify_bundle(bundle).conservation
    assert conservation is not None
    assert conservation.residual <= 1e-5
    text = " ".join(step.step for step in conservation.steps)
    assert text.index("logits") < text.index("pooling") < text.index("convolution")
    for step in conservation.steps:
        accounted = step.relevance_in + step.absorbed_bias + step.absorbed_stabilizer
        assert step.relevance_out == pytest.approx(accounted, abs=1e-5)


def test_a_changed_file_is_refused_by_its_digest(copy: Path) -> None:
    spoil(copy / "predict.onnx", lambda values: values.fill(0.0))
    with pytest.raises(IntegrityError, match=r"changed: predict.onnx"):
        verify_bundle(copy)


@pytest.mark.parametrize(("file", "signature"), [("predict.onnx", "serving_default"), ("explain.onnx", "explain")])
def test_one_wrong_weight_is_refused_by_what_it_computes(copy: Path, file: str, signature: str) -> None:
    def change(values: np.ndarray) -> None:
        values.flat[values.size // 2] += 0.01

    spoil(copy / file, change)
    sealed_again(copy)
    with pytest.raises(ParityError, match=rf"{signature}: .* and ONNX: .* at index .*of the largest magnitude"):
        verify_bundle(copy)


def test_nan_in_a_weight_is_refused(copy: Path) -> None:
    spoil(copy / "explain.onnx", lambda values: values.fill(np.nan))
    sealed_again(copy)
    with pytest.raises(ParityError, match=r"Every output must be finite. ONNX: output"):
        verify_bundle(copy)


def test_a_renamed_output_is_refused(copy: Path) -> None:
    model = onnx.load(copy / "predict.onnx")
    for node in model.graph.node:
        for i, name in enumerate(node.output):
            node.output[i] = "scores" if name == "probabilities" else name
    model.graph.output[0].name = "scores"
    onnx.save(model, copy / "predict.onnx")
    sealed_again(copy)
    with pytest.raises(
        IntegrityError, match=r"predict.onnx: outputs of 'serving_default' must be .*probabilities.*scores"
    ):
        verify_bundle(copy)


@pytest.mark.parametrize("file", ["predict.onnx", "saved_model.pb", "variables/variables.index"])
def test_a_file_that_does_not_load_is_refused(copy: Path, file: str) -> None:
    (copy / file).write_bytes(b"nothing of the kind")
    sealed_again(copy)
    with pytest.raises(ConversionError, match="can't"):
        verify_bundle(copy)


def test_a_broken_warmup_file_is_refused(copy: Path) -> None:
    path = copy / "assets.extra" / "tf_serving_warmup_requests"
    path.write_bytes(path.read_bytes()[:-5])
    sealed_again(copy)
    with pytest.raises(IntegrityError, match="must be a TFRecord of PredictionLog"):
        verify_bundle(copy)


def test_a_folder_that_is_no_bundle_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match=r"manifest\.json"):
        verify_bundle(tmp_path)
