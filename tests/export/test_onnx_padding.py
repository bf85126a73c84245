import keras
import numpy as np
import onnx
import onnxruntime
import pytest
from keras import layers

from export.onnx import write_onnx
from tests.export.test_onnx_weights import traced


@pytest.mark.parametrize("source", ["input", "convolution"])
def test_the_maximum_of_negative_values_and_padding_is_the_padding(tmp_path, source) -> None:
    before = [layers.Conv2D(4, 1, kernel_initializer="ones", use_bias=False)] if source == "convolution" else []
    model = keras.Sequential(
        [keras.Input((6, 6, 4), name="x"), *before, layers.ZeroPadding2D(1), layers.MaxPooling2D(3, 2)]
    )
    write_onnx(tmp_path / "m.onnx", traced(model, (None, 6, 6, 4)), "m")
    x = -1 - np.random.default_rng(0).random((2, 6, 6, 4), dtype=np.float32)
    session = onnxruntime.InferenceSession(tmp_path / "m.onnx", providers=["CPUExecutionProvider"])
    (pooled,) = session.run(None, {"x": x})
    np.testing.assert_allclose(pooled[:, 0], 0.0, atol=1e-30)  # the windows at the upper edge
    assert (pooled[:, 1:, 1:] < -1).all()
    np.testing.assert_allclose(pooled, model(x), atol=1e-6)


def test_other_paddings_stay_as_they_are(tmp_path) -> None:
    model = keras.Sequential(
        [keras.Input((6, 6, 4), name="x"), layers.ZeroPadding2D(2), layers.Conv2D(4, 3), layers.AveragePooling2D(2)]
    )
    write_onnx(tmp_path / "m.onnx", traced(model, (None, 6, 6, 4)), "m")
    assert not [c for c in onnx.load(tmp_path / "m.onnx").graph.initializer if c.name.startswith("padding_above")]
