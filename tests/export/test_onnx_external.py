import keras
import numpy as np
import onnx
import onnxruntime
import pytest
import tensorflow as tf

from export import onnx_external, onnx_weights
from export.errors import ConversionError
from export.manifest import WEIGHTS_FILE
from export.onnx import write_onnx
from export.onnx_external import WeightsFile
from export.runners import OnnxRunner
from export.saved_model import Signature
from tests.export.test_onnx_weights import traced

_PAGE = 4096


def places(path):
    """Offset and length of each constant that lies outside of an ONNX file."""
    found = {}
    for tensor in onnx.load(path, load_external_data=False).graph.initializer:
        entries = {entry.key: entry.value for entry in tensor.external_data}
        if entries:
            assert entries["location"] == WEIGHTS_FILE
            found[tensor.name] = int(entries["offset"]), int(entries["length"])
    return found


@pytest.fixture
def dense(monkeypatch):
    """A model of one matrix of 64 KiB, and the same with its transposed behind it; no model is too small."""
    for module in (onnx_external, onnx_weights):
        monkeypatch.setattr(module, "MIN_MODEL_BYTES", 1)
    keras.utils.set_random_seed(1)
    model = keras.Sequential([keras.Input((128,)), keras.layers.Dense(128, use_bias=False)])
    kernel = model.layers[0].kernel

    @tf.function(input_signature=[tf.TensorSpec((None, 128), name="x")], autograph=False)
    def back(x):
        return {"y": tf.matmul(tf.nn.relu(model(x)), kernel, transpose_b=True)}

    spec = tf.TensorSpec((None, 128), name="x")
    backward = Signature(back.get_concrete_function(), {"x": spec}, {"y": tf.TensorSpec((None, 128), name="y")})
    return model, traced(model, (None, 128)), backward


def test_files_share_what_both_of_them_read(dense, tmp_path) -> None:
    model, forward, backward = dense
    with WeightsFile(tmp_path / WEIGHTS_FILE) as weights:
        write_onnx(tmp_path / "forward.onnx", forward, "forward", weights)
        write_onnx(tmp_path / "backward.onnx", backward, "backward", weights)
    first, second = (list(places(tmp_path / f"{name}.onnx").values()) for name in ("forward", "backward"))
    assert first == second == [(0, 128 * 128 * 4)]  # the transposed matrix isn't stored
    assert (tmp_path / WEIGHTS_FILE).stat().st_size == 128 * 128 * 4
    x = np.random.default_rng(0).normal(size=(3, 128)).astype(np.float32)
    kernel = model.layers[0].kernel.numpy()
    expected = np.maximum(x @ kernel, 0) @ kernel.T
    session = onnxruntime.InferenceSession(tmp_path / "backward.onnx", providers=["CPUExecutionProvider"])
    np.testing.assert_allclose(session.run(None, {"x": x})[0], expected, rtol=1e-4, atol=1e-5)


def test_what_lies_in_the_file_begins_at_a_page_and_is_stored_once(tmp_path) -> None:
    ones, counted = np.ones(5000, np.float32), np.arange(10, dtype=np.int64)
    with WeightsFile(tmp_path / WEIGHTS_FILE) as weights:
        tensors = [weights.tensor(name, value) for name, value in (("a", ones), ("b", counted), ("c", ones))]
        for tensor, value in zip(tensors, (ones, counted, ones), strict=True):
            np.testing.assert_array_equal(weights.value(tensor), value)
    offsets = [int(tensor.external_data[1].value) for tensor in tensors]
    assert offsets == [0, 5 * _PAGE, 0]  # 20,000 bytes fill four pages and a part of the fifth


def test_a_small_model_is_one_file(tmp_path) -> None:
    model = keras.Sequential([keras.Input((128,)), keras.layers.Dense(128)])
    with WeightsFile(tmp_path / WEIGHTS_FILE) as weights:
        write_onnx(tmp_path / "m.onnx", traced(model, (None, 128)), "m", weights)
    assert not (tmp_path / WEIGHTS_FILE).exists()
    assert not places(tmp_path / "m.onnx")


def test_a_missing_file_is_named_when_the_model_is_loaded(dense, tmp_path) -> None:
    with WeightsFile(tmp_path / WEIGHTS_FILE) as weights:
        write_onnx(tmp_path / "m.onnx", dense[1], "m", weights)
    (tmp_path / WEIGHTS_FILE).unlink()

    class Entry:
        file = "m.onnx"

    with pytest.raises(ConversionError, match=WEIGHTS_FILE):
        OnnxRunner(tmp_path, {"serving_default": Entry()})
