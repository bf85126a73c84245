import keras
import numpy as np
import onnx
import onnxruntime
import tensorflow as tf

from explain.trace import output_names
from export.interface import model_interface
from export.onnx import write_onnx
from export.saved_model import Signature


def session_of(function, shape, path):
    spec = tf.TensorSpec(shape, "float32", name="x")
    traced = tf.function(lambda x: {"y": function(x)}, autograph=False).get_concrete_function(spec)
    outputs = {"y": tf.TensorSpec(traced.structured_outputs["y"].shape, "float32", name="y")}
    write_onnx(path, Signature(traced, {"x": spec}, outputs), "model")
    return onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])


def test_what_is_not_selected_may_be_infinite(tmp_path):
    session = session_of(lambda x: tf.where(x > 0, tf.math.log(x), -1.0), (None, 3), tmp_path / "m.onnx")
    x = np.array([[np.e, 0.0, -2.0]], np.float32)
    np.testing.assert_allclose(session.run(None, {"x": x})[0], [[1, -1, -1]], rtol=1e-6)
    kinds = [node.op_type for node in onnx.load(tmp_path / "m.onnx").graph.node]
    assert kinds.count("Where") == 1
    assert "Not" not in kinds


def test_grouped_convolutions_are_exported(tmp_path):
    model = keras.Sequential([keras.Input((6, 6, 4), name="x"), keras.layers.Conv2D(8, 3, groups=2)])
    predict = model_interface(model).predict
    (name,) = output_names(model)
    session = session_of(lambda x: predict({"x": x})[name], (None, 6, 6, 4), tmp_path / "m.onnx")
    x = np.random.default_rng(0).normal(size=(2, 6, 6, 4)).astype(np.float32)
    np.testing.assert_allclose(session.run(None, {"x": x})[0], model(x), atol=1e-5)
