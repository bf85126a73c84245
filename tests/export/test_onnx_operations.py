from itertools import product

import keras
import numpy as np
import onnx
import onnxruntime
import pytest
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


@pytest.mark.parametrize(
    ("before", "after", "interpolation"),
    [
        *product([(7, 49)], [(5, 11), (11, 50)], ["bilinear", "nearest"]),
        *product([(6, 5)], [(12, 15)], ["bilinear", "nearest"]),
        ((7, 49), (11, 50), "bicubic"),  # ONNX Runtime makes images larger this way, not smaller
        ((6, 5), (12, 15), "bicubic"),
    ],
)
def test_images_are_resized_to_the_size_that_is_asked_for(tmp_path, before, after, interpolation):
    def function(x):
        return 2 * tf.image.resize(x, after, interpolation)

    session = session_of(function, (None, *before, 2), tmp_path / "m.onnx")
    x = np.random.default_rng(0).normal(size=(3, *before, 2)).astype(np.float32)
    # Positions are rounded to float32; TensorFlow takes bicubic weights from a table of 1,024.
    tolerance = 2e-2 if interpolation == "bicubic" else 1e-4
    np.testing.assert_allclose(session.run(None, {"x": x})[0], function(x), rtol=0, atol=tolerance)
    model = onnx.shape_inference.infer_shapes(onnx.load(tmp_path / "m.onnx"), strict_mode=True, data_prop=True)
    (resized,) = (node for node in model.graph.node if node.op_type == "Resize")
    sizes = {
        value.name: [dim.dim_value for dim in value.type.tensor_type.shape.dim] for value in model.graph.value_info
    }
    assert sizes[resized.output[0]][2:] == list(after)
