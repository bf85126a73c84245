import keras
import numpy as np
import onnx
import onnxruntime
import tensorflow as tf
from keras import layers
from tf2onnx.optimizer.transpose_optimizer import TransposeOptimizer

from explain import build_explainer
from export import onnx_passes
from export.interface import model_interface
from export.onnx import write_onnx
from export.onnx_transposes import Transpositions
from export.saved_model import trace_signatures
from tests.explain.running import randomized
from tests.export.test_onnx_weights import traced


def test_a_grouped_convolution_of_one_position_is_explained(tmp_path) -> None:
    """The variance of the normalisation is the mean of a square, past which a transposition is moved."""
    model = keras.Sequential(
        [
            keras.Input((1, 1, 8), name="x"),
            layers.Conv2D(8, 7, padding="same", groups=8),
            layers.LayerNormalization(),
            layers.Dense(6, activation="gelu"),
            layers.GlobalAveragePooling2D(),
            layers.Dense(3),
        ]
    )
    explainer = build_explainer(randomized(model))
    signature = trace_signatures(model_interface(model), explainer)["explain_target"]
    write_onnx(tmp_path / "m.onnx", signature, "m")
    x = np.random.default_rng(0).normal(size=(5, 1, 1, 8)).astype(np.float32)
    target = np.array([0, 1, 2, 1, 0], np.int32)
    expected = signature.function(tf.constant(x), tf.constant(target))["relevance"].numpy()
    session = onnxruntime.InferenceSession(tmp_path / "m.onnx", providers=["CPUExecutionProvider"])
    relevance = session.run(["relevance"], {"x": x, "target": target})[0]
    np.testing.assert_allclose(relevance, expected, atol=1e-5 * np.abs(expected).max())


def test_as_few_transpositions_are_left_as_tf2onnx_leaves(tmp_path, monkeypatch) -> None:
    inputs = keras.Input((8, 8, 3), name="x")
    x = layers.Conv2D(4, 3, padding="same", activation="relu")(inputs)
    y = layers.BatchNormalization()(layers.DepthwiseConv2D(3, padding="same")(x))
    x = layers.Concatenate()([layers.Add()([x, y]), layers.MaxPooling2D(3, 1, padding="same")(y)])
    model = randomized(keras.Model(inputs, layers.Conv2D(4, 1)(layers.ZeroPadding2D(1)(x))))
    counts = []
    for optimizer in (Transpositions, TransposeOptimizer):
        monkeypatch.setattr(onnx_passes, "Transpositions", optimizer)
        write_onnx(tmp_path / "m.onnx", traced(model, (None, 8, 8, 3)), "m")
        kinds = [node.op_type for node in onnx.load(tmp_path / "m.onnx").graph.node]
        counts.append(kinds.count("Transpose"))
    assert counts == [2, 2]  # at the input and at the output
