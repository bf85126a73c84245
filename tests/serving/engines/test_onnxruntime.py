import json
import shutil
import subprocess
import sys

import numpy as np
import onnxruntime
import pytest
from onnx import TensorProto, helper

from export.manifest import SignatureEntry
from serving.engines.onnxruntime import CPU_PROVIDER, CUDA_PROVIDER, OnnxRuntimeEngine
from serving.errors import Code, ServingError
from tests.serving.bundles import (
    FEATURES,
    PROBABILITIES,
    X,
    entry,
    explain_graph,
    kernel_of,
    predict_graph,
    save_model,
    softmax,
    value_info,
    write_bundle,
    write_manifest,
    write_model,
)

ROWS = np.random.default_rng(1).normal(size=(3, FEATURES)).astype(np.float32)

needs_no_gpu = pytest.mark.skipif(
    CUDA_PROVIDER not in onnxruntime.get_available_providers() or shutil.which("nvidia-smi") is not None,
    reason="says what happens without a GPU, in a build that knows CUDA",
)


@pytest.fixture
def engine():
    return OnnxRuntimeEngine()


def test_the_signatures_are_those_of_the_manifest(engine, tmp_path):
    model = engine.load(write_bundle(tmp_path, 1))
    assert set(model.signatures) == {"serving_default", "explain", "explain_target"}
    assert model.signatures["serving_default"].inputs["x"].shape == (None, FEATURES)
    assert set(model.signatures["explain"].inputs) == {"x"}
    assert set(model.signatures["explain_target"].inputs) == {"x", "target"}
    assert model.explanation.num_targets == 3
    assert model.explanation.composite == "epsilon"


def test_predictions_are_those_of_the_file(engine, tmp_path):
    model = engine.load(write_bundle(tmp_path, 1))
    outputs = model.run("serving_default", {"x": ROWS}, ["probabilities"])
    np.testing.assert_allclose(outputs["probabilities"], softmax(ROWS @ kernel_of(1)), rtol=1e-5)


def test_explain_is_explain_target_for_the_predicted_class(engine, tmp_path):
    model = engine.load(write_bundle(tmp_path, 1))
    names = tuple(model.signatures["explain"].outputs)
    explained = model.run("explain", {"x": ROWS}, names)
    targeted = model.run("explain_target", {"x": ROWS, "target": explained["target"]}, names)
    assert explained["target"].tolist() == (ROWS @ kernel_of(1)).argmax(axis=1).tolist()
    for name in names:
        np.testing.assert_array_equal(explained[name], targeted[name])


def test_a_bundle_without_explanations_predicts(engine, tmp_path):
    model = engine.load(write_bundle(tmp_path, 1, explain=False))
    assert set(model.signatures) == {"serving_default"}
    assert model.explanation is None
    assert model.run("serving_default", {"x": ROWS}, ["probabilities"])["probabilities"].shape == (3, 3)


def test_strings_go_in_and_come_out_as_bytes(engine, tmp_path):
    graph = helper.make_graph(
        [helper.make_node("Identity", ["s"], ["t"])],
        "strings",
        [value_info("s", TensorProto.STRING, ["batch", 2])],
        [value_info("t", TensorProto.STRING, ["batch", 2])],
    )
    model = engine.load(
        write_model(tmp_path, 1, graph, [entry("s", "object", (None, 2))], [entry("t", "object", (None, 2))])
    )
    strings = np.array([[b"a", "ü".encode()], [b"", b"c"]], object)
    outputs = model.run("serving_default", {"s": strings}, ["t"])
    assert outputs["t"].tolist() == strings.tolist()
    with pytest.raises(ServingError, match="Input 's' must hold strings in UTF-8"):
        model.run("serving_default", {"s": np.array([[b"\xff", b""]], object)}, ["t"])


def test_a_value_that_the_graph_does_not_take_is_the_callers_fault(engine, tmp_path):
    graph = helper.make_graph(
        [helper.make_node("Gather", ["table", "ids"], ["y"])],
        "lookup",
        [value_info("ids", TensorProto.INT64, ["batch"])],
        [value_info("y", TensorProto.FLOAT, ["batch"])],
        [helper.make_tensor("table", TensorProto.FLOAT, [2], [10.0, 20.0])],
    )
    model = engine.load(
        write_model(tmp_path, 1, graph, [entry("ids", "int64", (None,))], [entry("y", "float32", (None,))])
    )
    assert model.run("serving_default", {"ids": np.array([1, 0])}, ["y"])["y"].tolist() == [20, 10]
    with pytest.raises(ServingError, match="out of data bounds") as refused:
        model.run("serving_default", {"ids": np.array([2])}, ["y"])
    assert refused.value.code == Code.INVALID_ARGUMENT


@pytest.mark.parametrize("file", ["predict.onnx", "explain.onnx"])
def test_a_file_that_is_not_the_one_of_the_manifest_is_refused(engine, tmp_path, file):
    path = write_bundle(tmp_path, 1)
    content = bytearray((path / file).read_bytes())
    content[-1] ^= 1
    (path / file).write_bytes(bytes(content))
    with pytest.raises(ServingError, match=f"changed: {file}") as refused:
        engine.load(path)
    assert refused.value.code == Code.DATA_LOSS


def test_a_file_that_onnx_runtime_cannot_load_is_refused(engine, tmp_path):
    path = write_bundle(tmp_path, 1, explain=False)
    (path / "predict.onnx").write_bytes(b"no graph")
    write_manifest(path, "dense", 1, {"serving_default": SignatureEntry((X,), (PROBABILITIES,), "predict.onnx")})
    with pytest.raises(ServingError, match=r"ONNX Runtime can't load .*predict\.onnx") as refused:
        engine.load(path)
    assert refused.value.code == Code.FAILED_PRECONDITION


def test_a_file_whose_tensors_are_not_those_of_the_signature_is_refused(engine, tmp_path):
    path = write_bundle(tmp_path, 1, explain=False)
    renamed = entry("y", "float32", (None, FEATURES))
    write_manifest(path, "dense", 1, {"serving_default": SignatureEntry((renamed,), (PROBABILITIES,), "predict.onnx")})
    with pytest.raises(ServingError, match=r"inputs \['y'\], .* Received: inputs \['x'\]"):
        engine.load(path)


def test_a_broken_manifest_is_refused(engine, tmp_path):
    path = write_bundle(tmp_path, 1)
    manifest = json.loads((path / "manifest.json").read_text())
    manifest["schema_version"] = 99
    (path / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(ServingError, match="schema_version=99") as refused:
        engine.load(path)
    assert refused.value.code == Code.FAILED_PRECONDITION


def test_the_cpu_is_reported(engine, tmp_path):
    assert engine.load(write_bundle(tmp_path, 1)).provider == CPU_PROVIDER


@needs_no_gpu
def test_a_gpu_that_is_not_there_is_an_error_and_not_a_quiet_cpu(tmp_path):
    engine = OnnxRuntimeEngine(device="cuda")
    with pytest.raises(
        ServingError, match=r"A GPU was asked for.* Received: a session on CPUExecutionProvider"
    ) as refused:
        engine.load(write_bundle(tmp_path, 1))
    assert refused.value.code == Code.FAILED_PRECONDITION


@needs_no_gpu
def test_auto_takes_the_cpu_and_says_so(tmp_path):
    assert OnnxRuntimeEngine(device="auto").load(write_bundle(tmp_path, 1)).provider == CPU_PROVIDER


def test_the_graphs_of_these_tests_agree_with_each_other(tmp_path):
    save_model(predict_graph(kernel_of(1)), tmp_path / "predict.onnx")
    save_model(explain_graph(kernel_of(1)), tmp_path / "explain.onnx")
    predict, explain = (onnxruntime.InferenceSession(str(tmp_path / f"{name}.onnx")) for name in ("predict", "explain"))
    target = np.full(3, -1, np.int32)
    np.testing.assert_array_equal(
        predict.run(["probabilities"], {"x": ROWS})[0], explain.run(["probabilities"], {"x": ROWS, "target": target})[0]
    )


def test_serving_with_onnx_runtime_imports_neither_tensorflow_nor_keras(tmp_path):
    path = write_bundle(tmp_path, 1)
    script = (
        "import sys\n"
        "from pathlib import Path\n"
        "import serving.server, serving.grpc.service, serving.rest.app\n"
        "from serving.engines.registry import create_engine\n"
        f"create_engine('onnxruntime').load(Path({str(path)!r}))\n"
        "print(sorted({name.partition('.')[0] for name in sys.modules}))\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    loaded = set(json.loads(done.stdout.replace("'", '"')))
    assert "onnxruntime" in loaded
    assert not loaded & {
        "tensorflow",
        "keras",
        "tf2onnx",
        "onnx",
        "tensorflow_serving",
        "models",
        "explain",
        "rich",
        "click",
    }
