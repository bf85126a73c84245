"""Small real bundles for the tests of serving, written with onnx.helper: no TensorFlow, a few milliseconds."""

import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from export.manifest import (
    ExplanationEntry,
    Manifest,
    SignatureEntry,
    TensorEntry,
    digest_files,
    save_manifest,
)

CLASSES = 3
FEATURES = 4
EXPLAIN_OUTPUTS = ("probabilities", "relevance", "target", "explained_value", "conservation_gap")


def kernel_of(version: int) -> np.ndarray:
    """The kernel that `write_bundle` gives a version: (features, classes) float32."""
    return np.random.default_rng(version).normal(size=(FEATURES, CLASSES)).astype(np.float32)


def softmax(logits: np.ndarray) -> np.ndarray:
    """Probabilities in float64, the oracle of the bundles' predictions."""
    shifted = np.exp(np.float64(logits) - np.max(logits, axis=-1, keepdims=True))
    return shifted / shifted.sum(axis=-1, keepdims=True)


def write_bundle(base_path: Path, version: int, *, name: str = "dense", explain: bool = True) -> Path:
    """Writes a dense model with explanations: probabilities = softmax(x @ kernel), relevance = x * kernel[:, t]."""
    folder = base_path / str(version)
    folder.mkdir(parents=True)
    kernel = kernel_of(version)
    save_model(predict_graph(kernel), folder / "predict.onnx")
    signatures = {"serving_default": SignatureEntry((X,), (PROBABILITIES,), "predict.onnx")}
    if explain:
        save_model(explain_graph(kernel), folder / "explain.onnx")
        outputs = tuple(_explain_output(output) for output in EXPLAIN_OUTPUTS)
        signatures["explain"] = SignatureEntry((X,), outputs, "explain.onnx")
        signatures["explain_target"] = SignatureEntry((X, TARGET), outputs, "explain.onnx")
    write_manifest(folder, name, version, signatures)
    return folder


def write_model(
    base_path: Path, version: int, graph: onnx.GraphProto, inputs: Sequence[TensorEntry], outputs: Sequence[TensorEntry]
) -> Path:
    """Writes a bundle of any graph, with `serving_default` only."""
    folder = base_path / str(version)
    folder.mkdir(parents=True)
    save_model(graph, folder / "predict.onnx")
    write_manifest(
        folder,
        base_path.name,
        version,
        {"serving_default": SignatureEntry(tuple(inputs), tuple(outputs), "predict.onnx")},
    )
    return folder


def write_manifest(folder: Path, name: str, version: int, signatures: dict[str, SignatureEntry]) -> None:
    """Writes `manifest.json` for the files that are there."""
    explanation = ExplanationEntry("probabilities", CLASSES, {"x": "relevance"}, "epsilon", "dense", 1e-6, "absorb")
    save_manifest(
        Manifest(
            name=name,
            version=version,
            architecture="dense",
            task="classification",
            created="2026-01-01T00:00:00Z",
            inputs=signatures["serving_default"].inputs,
            outputs=signatures["serving_default"].outputs,
            class_labels=("a", "b", "c"),
            preprocessing="none",
            signatures=signatures,
            explanation=explanation if "explain" in signatures else None,
            provenance={},
            parity={},
            conservation=None,
            files=digest_files(folder),
        ),
        folder,
    )


def copy_bundle(source: Path, destination: Path) -> Path:
    """Copies a version folder."""
    return Path(shutil.copytree(source, destination))


def save_model(graph: onnx.GraphProto, path: Path) -> None:
    """Checks and writes a graph as an ONNX file."""
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    onnx.checker.check_model(model)
    path.write_bytes(model.SerializeToString())


def entry(name: str, dtype: str, shape: tuple[int | None, ...] | None, onnx_name: str | None = None) -> TensorEntry:
    """A tensor of a signature."""
    return TensorEntry(name, dtype, shape, onnx_name or name)


def value_info(name: str, dtype: int, shape: Sequence[int | str] | None) -> onnx.ValueInfoProto:
    """A tensor of a graph."""
    return helper.make_tensor_value_info(name, dtype, shape)


X = entry("x", "float32", (None, FEATURES))
TARGET = entry("target", "int32", (None,))
PROBABILITIES = entry("probabilities", "float32", (None, CLASSES))


def predict_graph(kernel: np.ndarray) -> onnx.GraphProto:
    """softmax(x @ kernel)."""
    nodes = [
        helper.make_node("MatMul", ["x", "kernel"], ["logits"]),
        helper.make_node("Softmax", ["logits"], ["probabilities"]),
    ]
    return helper.make_graph(
        nodes,
        "predict",
        [value_info("x", TensorProto.FLOAT, ["batch", FEATURES])],
        [value_info("probabilities", TensorProto.FLOAT, ["batch", CLASSES])],
        [numpy_helper.from_array(kernel, "kernel")],
    )


def explain_graph(kernel: np.ndarray) -> onnx.GraphProto:
    """The prediction and x * kernel[:, target], which sums up to the logit exactly."""
    constants = {
        "kernel": kernel,
        "columns": np.ascontiguousarray(kernel.T),
        "zero": np.array(0, np.int64),
        "last": np.array([1], np.int64),
        "classes": np.array(CLASSES, np.int64),
        "values": np.array([0.0, 1.0], np.float32),
    }
    nodes = [
        helper.make_node("MatMul", ["x", "kernel"], ["logits"]),
        helper.make_node("Softmax", ["logits"], ["probabilities"]),
        helper.make_node("ArgMax", ["logits"], ["predicted"], axis=1, keepdims=0),
        helper.make_node("Cast", ["target"], ["wanted"], to=TensorProto.INT64),
        helper.make_node("Less", ["wanted", "zero"], ["unset"]),
        helper.make_node("Where", ["unset", "predicted", "wanted"], ["chosen"]),
        helper.make_node("Cast", ["chosen"], ["target_output"], to=TensorProto.INT32),
        helper.make_node("Gather", ["columns", "chosen"], ["weights"], axis=0),
        helper.make_node("Mul", ["x", "weights"], ["relevance"]),
        helper.make_node("OneHot", ["chosen", "classes", "values"], ["mask"], axis=-1),
        helper.make_node("Mul", ["logits", "mask"], ["masked"]),
        helper.make_node("ReduceSum", ["masked", "last"], ["explained_value"], keepdims=0),
        helper.make_node("ReduceSum", ["relevance", "last"], ["total"], keepdims=0),
        helper.make_node("Sub", ["explained_value", "total"], ["conservation_gap"]),
    ]
    outputs = [value_info(_explain_output(name).onnx_name, *_EXPLAIN_TYPES[name]) for name in EXPLAIN_OUTPUTS]
    return helper.make_graph(
        nodes,
        "explain",
        [value_info("x", TensorProto.FLOAT, ["batch", FEATURES]), value_info("target", TensorProto.INT32, ["batch"])],
        outputs,
        [numpy_helper.from_array(array, name) for name, array in constants.items()],
    )


_EXPLAIN_TYPES = {
    "probabilities": (TensorProto.FLOAT, ["batch", CLASSES]),
    "relevance": (TensorProto.FLOAT, ["batch", FEATURES]),
    "target": (TensorProto.INT32, ["batch"]),
    "explained_value": (TensorProto.FLOAT, ["batch"]),
    "conservation_gap": (TensorProto.FLOAT, ["batch"]),
}


def _explain_output(name: str) -> TensorEntry:
    dtype, shape = _EXPLAIN_TYPES[name]
    sizes = tuple(None if isinstance(size, str) else size for size in shape)
    return entry(
        name, "int32" if dtype == TensorProto.INT32 else "float32", sizes, "target_output" if name == "target" else name
    )
