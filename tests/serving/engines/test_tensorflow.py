"""The TensorFlow engine on real SavedModels, TF1 and TF2, written here."""

from pathlib import Path

import numpy as np
import pytest

from export.manifest import MANIFEST_FILE, load_manifest
from serving.errors import Code, ServingError
from serving.tasks import Method, make_task
from tests.serving.bundles import kernel_of, softmax, write_bundle, write_manifest
from tests.serving.test_examples import example

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def tf():
    import tensorflow as tf

    return tf


@pytest.fixture(scope="module")
def engine(tf):
    from serving.engines.tensorflow import TensorFlowEngine

    return TensorFlowEngine()


@pytest.fixture(scope="module")
def half_plus_two(tf, tmp_path_factory) -> Path:
    """y = x / 2 + 2 as a TF2 SavedModel."""
    module = tf.Module()
    module.half = tf.Variable(0.5)

    @tf.function(input_signature=[tf.TensorSpec([None, 1], tf.float32, name="x")])
    def call(x):
        return {"y": x * module.half + 2.0, "x_again": tf.identity(x)}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="s")])
    def join(s):
        return {"joined": tf.strings.join([s, s])}

    path = tmp_path_factory.mktemp("half_plus_two") / "1"
    tf.saved_model.save(module, str(path), signatures={"serving_default": call, "join": join})
    return path


@pytest.fixture(scope="module")
def counter(tf, tmp_path_factory) -> Path:
    """A TF1 graph: a reference variable, signatures without inputs, one with a wrong shape, one with a default."""
    v1 = tf.compat.v1
    path = tmp_path_factory.mktemp("counter") / "1"
    with tf.Graph().as_default(), v1.Session() as session:
        count = v1.get_variable("count", initializer=0.0, use_resource=False)
        incremented = v1.assign_add(count, 1.0)
        x = v1.placeholder(tf.float32, [None, None], name="x")
        y = tf.identity(x * 2.0, name="y")
        session.run(v1.global_variables_initializer())
        info = v1.saved_model.build_tensor_info
        define = v1.saved_model.build_signature_def
        scalar = info(x)
        scalar.tensor_shape.CopyFrom(tf.TensorShape([]).as_proto())
        with_default = define({"x": info(x)}, {"y": info(y)}, "tensorflow/serving/predict")
        with_default.defaults["x"].CopyFrom(tf.make_tensor_proto([[21.0]]))
        builder = v1.saved_model.Builder(str(path))
        builder.add_meta_graph_and_variables(
            session,
            ["serve"],
            signature_def_map={
                "get": define({}, {"output": info(count)}, "tensorflow/serving/predict"),
                "increment": define({}, {"output": info(incremented)}, "tensorflow/serving/predict"),
                "serving_default": define({"x": scalar}, {"y": info(y)}, "tensorflow/serving/predict"),
                "same": define({"x": info(x)}, {"x": info(x), "y": info(y)}, "tensorflow/serving/predict"),
                "with_default": with_default,
            },
        )
        builder.save()
    return path


@pytest.fixture(scope="module")
def convolution(tf, tmp_path_factory) -> Path:
    """Images of 8x8, with a kernel of 3x3: oneDNN ends the process over inputs of another rank."""
    module = tf.Module()
    module.kernel = tf.Variable(tf.ones([3, 3, 1, 2]))

    @tf.function(input_signature=[tf.TensorSpec([None, 8, 8, 1], tf.float32, name="x")])
    def call(x):
        return {"y": tf.nn.conv2d(x, module.kernel, 1, "SAME")}

    path = tmp_path_factory.mktemp("convolution") / "1"
    tf.saved_model.save(module, str(path), signatures={"serving_default": call})
    return path


@pytest.fixture
def bundle(tf, tmp_path) -> Path:
    """The bundle of tests.serving.bundles with a SavedModel in it."""
    path = write_bundle(tmp_path, 1)
    module = tf.Module()
    module.kernel = tf.Variable(kernel_of(1))
    x = tf.TensorSpec([None, 4], tf.float32, name="x")

    def predict(x):
        return {"probabilities": tf.nn.softmax(x @ module.kernel)}

    def explain_target(x, target):
        logits = x @ module.kernel
        chosen = tf.where(target < 0, tf.argmax(logits, axis=1, output_type=tf.int32), target)
        relevance = x * tf.gather(tf.transpose(module.kernel), chosen)
        value = tf.gather(logits, chosen, batch_dims=1)
        gap = value - tf.reduce_sum(relevance, axis=1)
        return predict(x) | {
            "relevance": relevance,
            "target": tf.identity(chosen),
            "explained_value": value,
            "conservation_gap": gap,
        }

    def explain(x):
        return explain_target(x, tf.fill([tf.shape(x)[0]], -1))

    target = tf.TensorSpec([None], tf.int32, name="target")
    tf.saved_model.save(
        module,
        str(path),
        signatures={
            "serving_default": tf.function(predict, input_signature=[x]),
            "explain": tf.function(explain, input_signature=[x]),
            "explain_target": tf.function(explain_target, input_signature=[x, target]),
        },
    )
    write_manifest(path, "dense", 1, load_manifest(path).signatures)
    return path


def test_a_plain_saved_model_is_run(engine, half_plus_two):
    model = engine.load(half_plus_two)
    assert set(model.signatures) == {"serving_default", "join"}
    assert model.provider == "CPU"
    assert model.explanation is None
    assert not model.batchable
    assert not model.refuses_non_finite
    outputs = model.run("serving_default", {"x": np.array([[1], [2]], np.float32)}, ["y"])
    assert outputs["y"].tolist() == [[2.5], [3.0]]


@pytest.mark.parametrize("shape", [(), (3,), (2, 2), (0, 1)])
def test_shapes_are_the_runtimes_business(engine, half_plus_two, counter, shape):
    x = np.ones(shape, np.float32)
    for path, expected in ((half_plus_two, 2.5), (counter, 2.0)):
        y = engine.load(path).run("serving_default", {"x": x}, ["y"])["y"]
        assert y.shape == shape
        assert (y == expected).all()


def test_strings_are_bytes(engine, half_plus_two):
    outputs = engine.load(half_plus_two).run("join", {"s": np.array([b"a\xff", b""], object)}, ["joined"])
    assert outputs["joined"].tolist() == [b"a\xffa\xff", b""]


def test_a_stateful_tf1_graph_is_run(engine, counter):
    model = engine.load(counter)
    assert model.run("get", {}, ["output"])["output"] == 0
    assert model.run("increment", {}, ["output"])["output"] == 1
    assert model.run("increment", {}, ["output"])["output"] == 2
    assert model.run("get", {}, ["output"])["output"] == 2


def test_an_output_that_is_an_input_is_what_came_in(engine, counter):
    outputs = engine.load(counter).run("same", {"x": np.array([[3]], np.float32)}, ["x", "y"])
    assert outputs["x"].tolist() == [[3]]
    assert outputs["y"].tolist() == [[6]]


def test_defaults_of_a_signature_are_read(engine, counter):
    defaults = engine.load(counter).signatures["with_default"].defaults
    assert defaults["x"].tolist() == [[21]]


def test_a_failing_operation_comes_out_with_tensorflows_code_and_text(engine, bundle):
    (bundle / MANIFEST_FILE).unlink()
    with pytest.raises(ServingError, match="Matrix size-incompatible") as refused:
        engine.load(bundle).run("serving_default", {"x": np.ones((1, 5), np.float32)}, ["probabilities"])
    assert refused.value.code == Code.INVALID_ARGUMENT


def test_a_bundle_takes_the_shapes_of_its_manifest(engine, bundle):
    with pytest.raises(ServingError, match=r"Input 'x' must have shape \(batch, 4\)\. Received: \(1, 5\)") as refused:
        engine.load(bundle).run("serving_default", {"x": np.ones((1, 5), np.float32)}, ["probabilities"])
    assert refused.value.code == Code.INVALID_ARGUMENT


@pytest.mark.parametrize("shape", [(), (3,), (1, 3), (1, 8, 8), (1, 8, 8, 1, 1)], ids=str)
def test_an_image_of_another_rank_does_not_end_the_process(engine, convolution, shape):
    with pytest.raises(ServingError, match=r"Input 'x' must have shape \(batch, any, any, any\)") as refused:
        engine.load(convolution).run("serving_default", {"x": np.ones(shape, np.float32)}, ["y"])
    assert refused.value.code == Code.INVALID_ARGUMENT


def test_an_image_of_a_plain_model_may_have_another_size(engine, convolution):
    outputs = engine.load(convolution).run("serving_default", {"x": np.ones((2, 5, 6, 1), np.float32)}, ["y"])
    assert outputs["y"].shape == (2, 5, 6, 2)


def test_a_bundle_predicts_and_explains(engine, bundle):
    model = engine.load(bundle)
    x = np.random.default_rng(0).normal(size=(5, 4)).astype(np.float32)
    assert model.explanation.num_targets == 3
    assert model.batchable
    assert model.refuses_non_finite
    names = tuple(model.signatures["explain"].outputs)
    explained = model.run("explain", {"x": x}, names)
    targeted = model.run("explain_target", {"x": x, "target": explained["target"]}, names)
    np.testing.assert_allclose(explained["probabilities"], softmax(x @ kernel_of(1)), rtol=1e-5)
    for name in names:
        np.testing.assert_array_equal(explained[name], targeted[name])


def test_both_engines_answer_a_bundle_alike(engine, bundle):
    from serving.engines.onnxruntime import OnnxRuntimeEngine

    x = np.random.default_rng(0).normal(size=(5, 4)).astype(np.float32)
    models = [each.load(bundle) for each in (engine, OnnxRuntimeEngine())]
    for signature in ("serving_default", "explain"):
        names = tuple(models[0].signatures[signature].outputs)
        assert set(names) == set(models[1].signatures[signature].outputs)
        ours, theirs = (model.run(signature, {"x": x}, names) for model in models)
        for name in names:
            np.testing.assert_allclose(ours[name], theirs[name], atol=1e-5)


@pytest.mark.parametrize("signature", ["serving_default", "explain"])
def test_both_engines_classify_the_examples_of_a_bundle_alike(engine, bundle, signature):
    from serving.engines.onnxruntime import OnnxRuntimeEngine

    x = np.random.default_rng(0).normal(size=(5, 4)).astype(np.float32)
    serialized = [example(x=row) for row in x.tolist()]
    for model in (engine.load(bundle), OnnxRuntimeEngine().load(bundle)):
        task = make_task(signature, model.signatures[signature], Method.CLASSIFY)
        assert task.output_names == ("probabilities",)
        inputs = task.inputs(serialized)
        np.testing.assert_array_equal(inputs["x"], x)
        result = task.result(model.run(signature, inputs, task.output_names), 5)
        np.testing.assert_allclose(result.scores, softmax(x @ kernel_of(1)), rtol=1e-5)
        assert result.labels.tolist() == [[b"a", b"b", b"c"]] * 5


def test_tensors_of_several_signatures_come_from_one_run(engine, half_plus_two, counter):
    model = engine.load(half_plus_two)
    default, join = model.signatures["serving_default"], model.signatures["join"]
    feeds = {
        default.inputs["x"].tensor_name: np.array([[2]], np.float32),
        join.inputs["s"].tensor_name: np.array([b"a"], object),
    }
    y, joined = default.outputs["y"].tensor_name, join.outputs["joined"].tensor_name
    outputs = model.run_tensors(feeds, [y, joined])
    assert outputs[y].tolist() == [[3]]
    assert outputs[joined].tolist() == [b"aa"]
    # Two fetches of one operation with an effect: one run, so it happened once.
    model = engine.load(counter)
    name = model.signatures["increment"].outputs["output"].tensor_name
    assert model.run_tensors({}, [name, name]) == {name: 1}
    assert model.run("get", {}, ["output"])["output"] == 1


def test_a_bundle_whose_files_changed_is_refused(engine, bundle):
    (bundle / "saved_model.pb").write_bytes((bundle / "saved_model.pb").read_bytes() + b"\0")
    with pytest.raises(ServingError, match=r"changed: saved_model\.pb") as refused:
        engine.load(bundle)
    assert refused.value.code == Code.DATA_LOSS


@pytest.mark.parametrize("content", [b"", b"no protobuf", b"\x08\x01"], ids=["empty", "garbage", "no graph"])
def test_a_file_that_is_no_saved_model_is_refused(engine, tmp_path, content):
    (tmp_path / "saved_model.pb").write_bytes(content)
    with pytest.raises(ServingError, match="TensorFlow can't load"):
        engine.load(tmp_path)


def test_a_saved_model_without_its_variables_is_refused(engine, half_plus_two, tmp_path):
    (tmp_path / "saved_model.pb").write_bytes((half_plus_two / "saved_model.pb").read_bytes())
    with pytest.raises(ServingError, match="TensorFlow can't load"):
        engine.load(tmp_path)


def test_a_gpu_that_is_not_there_is_an_error(tf, half_plus_two):
    from serving.engines.tensorflow import TensorFlowEngine

    if tf.config.list_physical_devices("GPU"):
        pytest.skip("says what happens without a GPU, and there is one")
    with pytest.raises(ServingError, match=r"A GPU was asked for.* must be usable by TensorFlow") as refused:
        TensorFlowEngine(device="cuda").load(half_plus_two)
    assert refused.value.code == Code.FAILED_PRECONDITION
    assert TensorFlowEngine(device="auto").load(half_plus_two).provider == "CPU"


def test_the_signature_of_a_bundle_is_named_as_in_its_manifest(engine, bundle):
    signatures = load_manifest(bundle).signatures
    model = engine.load(bundle)
    for name, signature in signatures.items():
        assert set(model.signatures[name].inputs) == {tensor.name for tensor in signature.inputs}
        assert set(model.signatures[name].outputs) == {tensor.name for tensor in signature.outputs}
