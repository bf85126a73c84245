import keras
import numpy as np
import onnx
import onnxruntime
import pytest
import tensorflow as tf

from export import onnx_weights
from export.onnx import write_onnx
from export.onnx_weights import hollow
from export.saved_model import Signature


def traced(model: keras.Model, shape: tuple[int | None, ...]) -> Signature:
    spec = tf.TensorSpec(shape, "float32", name="x")
    function = tf.function(lambda x: {"y": model(x, training=False)}, autograph=False).get_concrete_function(spec)
    return Signature(function, {"x": spec}, {"y": tf.TensorSpec((None, *model.output_shape[1:]), "float32", name="y")})


def convolutional() -> keras.Model:
    keras.utils.set_random_seed(3)
    return keras.Sequential(
        [
            keras.Input((12, 12, 8)),
            keras.layers.Conv2D(64, 3, padding="same"),
            keras.layers.BatchNormalization(),
            keras.layers.ReLU(),
            keras.layers.DepthwiseConv2D(3, depth_multiplier=8),
            keras.layers.Conv2DTranspose(16, 3, strides=2),
            keras.layers.Flatten(),
            keras.layers.Dense(5),
        ]
    )


def test_big_weights_are_taken_out_and_small_ones_stay() -> None:
    graph = hollow(traced(convolutional(), (None, 12, 12, 8)).function)
    assert graph is not None
    sizes = sorted(value.size for value in graph.weights.values())
    assert sizes == sorted([9 * 64 * 8, 9 * 8 * 64, 9 * 16 * 512, 21 * 21 * 16 * 5])
    kinds = {node.op for node in graph.graph_def.node}
    assert "ReadVariableOp" not in kinds
    assert "Const" in kinds


def test_a_file_written_without_weights_computes_the_same(tmp_path) -> None:
    model = convolutional()
    path = tmp_path / "model.onnx"
    write_onnx(path, traced(model, (None, 12, 12, 8)), "model")
    x = np.random.default_rng(0).normal(size=(3, 12, 12, 8)).astype(np.float32)
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    expected = model(x).numpy()
    np.testing.assert_allclose(session.run(None, {"x": x})[0], expected, atol=1e-5 * np.abs(expected).max())
    assert [value.name for value in onnx.load(path).graph.input] == ["x"]


def test_no_transposition_of_a_kernel_is_left_to_the_runtime(tmp_path) -> None:
    path = tmp_path / "model.onnx"
    write_onnx(path, traced(convolutional(), (None, 12, 12, 8)), "model")
    graph = onnx.load(path).graph
    constants = {tensor.name for tensor in graph.initializer}
    moved = [node for node in graph.node if node.op_type == "Transpose" and node.input[0] in constants]
    assert moved == []


def test_a_graph_with_a_loop_is_frozen_as_a_whole(tmp_path) -> None:
    model = keras.Sequential([keras.Input((5, 3)), keras.layers.GRU(4)])
    signature = traced(model, (None, 5, 3))
    assert hollow(signature.function) is None
    write_onnx(tmp_path / "model.onnx", signature, "model")


@pytest.mark.parametrize("big_bytes", [512, 1 << 30])
def test_where_the_line_is_drawn_changes_nothing(tmp_path, monkeypatch, big_bytes) -> None:
    """All weights taken out but those of a few numbers, or none at all."""
    model = convolutional()
    monkeypatch.setattr(onnx_weights, "_BIG_BYTES", big_bytes)
    path = tmp_path / "model.onnx"
    write_onnx(path, traced(model, (None, 12, 12, 8)), "model")
    x = np.random.default_rng(0).normal(size=(2, 12, 12, 8)).astype(np.float32)
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    expected = model(x).numpy()
    np.testing.assert_allclose(session.run(None, {"x": x})[0], expected, atol=1e-5 * np.abs(expected).max())
