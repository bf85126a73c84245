"""Arrays and tensors, and the graphs of SavedModels, in TensorFlow's C API."""

import gc
import subprocess
import sys

import ml_dtypes
import numpy as np
import pytest

from serving.engines import tensorflow_library, tensorflow_tensors
from serving.engines.tensorflow_graph import load_graph
from serving.engines.tensorflow_library import TensorFlowError, load_library
from serving.engines.tensorflow_tensors import numpy_dtype, to_array, to_tensor
from serving.errors import Code, ServingError
from serving.protos import types_pb2
from serving.protos.convert import DATA_TYPES

pytestmark = pytest.mark.slow  # loads TensorFlow


def there_and_back(array):
    tensor = to_tensor(array)
    try:
        return to_array(tensor)
    finally:
        load_library().TF_DeleteTensor(tensor)


@pytest.mark.parametrize("name", [name for name in DATA_TYPES if name != "object"])
@pytest.mark.parametrize("shape", [(), (1,), (2, 0, 3), (2, 3, 5)], ids=str)
def test_numbers_arrive_as_they_are(name, shape):
    dtype = np.dtype(ml_dtypes.bfloat16) if name == "bfloat16" else np.dtype(name)
    array = np.random.default_rng(0).integers(0, 2, shape).astype(dtype)
    received = there_and_back(array)
    assert received.dtype == dtype
    assert received.shape == shape
    assert (received == array).all()


def test_an_array_need_not_be_contiguous():
    array = np.arange(24.0, dtype=np.float32).reshape(2, 3, 4)[::-1, :, ::2].transpose(2, 0, 1)
    np.testing.assert_array_equal(there_and_back(array), array)


@pytest.mark.parametrize("shape", [(), (0,), (4,), (2, 2)], ids=str)
def test_strings_arrive_as_they_are_and_their_memory_is_given_back(shape):
    texts = np.empty(shape, object)
    texts.reshape(-1)[:] = [b"", b"\xff\x00\xfe", b"x" * 23, b"long" * 1000][: texts.size]
    lent = len(tensorflow_tensors._lent)
    received = there_and_back(texts)
    assert received.shape == shape
    assert received.tolist() == texts.tolist()
    assert len(tensorflow_tensors._lent) == lent


def test_text_is_sent_in_utf8():
    assert there_and_back(np.array(["é"])).tolist() == ["é".encode()]


def test_a_dtype_that_tensorflow_lacks_is_refused():
    with pytest.raises(ServingError, match="Expected a dtype that TensorFlow has") as refused:
        to_tensor(np.array(["2026-12-01"], "datetime64[D]"))
    assert refused.value.code == Code.UNIMPLEMENTED


def test_a_reference_has_the_dtype_of_what_it_refers_to():
    assert numpy_dtype(types_pb2.DT_FLOAT_REF) == np.float32
    assert numpy_dtype(types_pb2.DT_STRING) == np.dtype(object)
    assert numpy_dtype(types_pb2.DT_RESOURCE) is None
    assert numpy_dtype(types_pb2.DT_QINT8) is None


@pytest.fixture(scope="module")
def memory(tmp_path_factory):
    """A graph that keeps the string that it was given."""
    import tensorflow as tf

    module = tf.Module()
    module.kept = tf.Variable(["nothing"], shape=[None], dtype=tf.string)

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="s")])
    def keep(s):
        return {"kept": module.kept.assign(s)}

    @tf.function(input_signature=[])
    def get():
        return {"kept": module.kept.read_value()}

    path = tmp_path_factory.mktemp("memory") / "1"
    tf.saved_model.save(module, str(path), signatures={"keep": keep, "get": get})
    return path


def load(path):
    graph, meta_graph = load_graph(path, ["serve"], b"")
    from serving.protos.session_pb2 import MetaGraphDef

    return graph, MetaGraphDef.FromString(meta_graph).signature_def


def test_a_string_that_the_graph_keeps_outlives_the_run(memory):
    graph, signatures = load(memory)
    feed, fetch = signatures["keep"].inputs["s"].name, signatures["get"].outputs["kept"].name
    lent = len(tensorflow_tensors._lent)
    texts = np.array([b"kept for long " * 100, b"short"], object)
    graph.run({feed: texts}, [signatures["keep"].outputs["kept"].name])
    gc.collect()
    for _ in range(100):
        there_and_back(np.array([b"something else " * 100] * 2, object))
    assert graph.run({}, [fetch])[0].tolist() == texts.tolist()
    graph.close()
    assert len(tensorflow_tensors._lent) == lent


@pytest.mark.parametrize("name", ["none:0", "none", "saver_filename:1", "saver_filename:-1", "saver_filename:x"])
def test_a_tensor_that_the_graph_lacks_is_an_error(memory, name):
    graph, _ = load(memory)
    with pytest.raises(KeyError, match=name):
        graph.data_type(name)
    with pytest.raises(KeyError, match=name):
        graph.run({}, [name])
    assert graph.data_type("saver_filename:0") == types_pb2.DT_STRING
    graph.close()


def test_what_goes_wrong_has_tensorflows_code_and_text(memory, tmp_path):
    with pytest.raises(TensorFlowError, match="Could not find SavedModel") as refused:
        load_graph(tmp_path, ["serve"], b"")
    assert refused.value.code == Code.NOT_FOUND.value
    with pytest.raises(TensorFlowError, match="tags"):
        load_graph(memory, ["serve", "gpu"], b"")
    with pytest.raises(TensorFlowError, match="ConfigProto") as refused:
        load_graph(memory, ["serve"], b"no protobuf")
    assert refused.value.code == Code.INVALID_ARGUMENT.value


def test_the_package_is_not_imported(memory):
    """The engine needs TensorFlow's library only: the package takes seconds and hundreds of megabytes."""
    script = (
        "import sys, numpy as np; from pathlib import Path; from serving.engines.registry import create_engine\n"
        "model = create_engine('tensorflow').load(Path(sys.argv[1]))\n"
        "assert model.run('keep', {'s': np.array([b'x'], object)}, ['kept'])['kept'].tolist() == [b'x']\n"
        "assert not {'tensorflow', 'keras'} & sys.modules.keys(), 'imported'\n"
    )
    subprocess.run([sys.executable, "-c", script, str(memory)], check=True)


def test_a_tensorflow_that_is_not_there_is_an_import_error(monkeypatch, tmp_path):
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    monkeypatch.setattr(tensorflow_library, "load_library", tensorflow_library.load_library.__wrapped__)
    with monkeypatch.context() as patched:
        patched.delitem(sys.modules, "tensorflow", raising=False)
        with pytest.raises(ImportError, match="tensorflow"):
            tensorflow_library.load_library()
        (tmp_path / "tensorflow").mkdir()
        with pytest.raises(ImportError, match=r"TensorFlow's library must be .*libtensorflow_cc"):
            tensorflow_library.load_library()
