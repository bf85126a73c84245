import json
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
import onnxruntime
import pytest
import tensorflow as tf

from explain import ExplainError, read_composite
from explain.windows import Windows
from export.bundle import export_bundle
from export.errors import (
    ConversionError,
    ExplanationError,
    ExportError,
    InterfaceError,
    ParityError,
    PublicationError,
    SamplesError,
    SourceError,
)
from export.manifest import load_manifest
from export.verification import verify_bundle
from export.vocabulary import read_vocabulary
from tests.export import models

RELEVANCE = ["relevance", "target", "explained_value", "conservation_gap"]


def exported(model: keras.Model, folder: Path, **options: object) -> Path:
    path = folder / "mine.keras"
    model.save(path)
    return export_bundle(path, repository=folder / "repository", name="mine", **options)  # type: ignore[arg-type]


def visible(repository: Path) -> list[str]:
    return [path.relative_to(repository).as_posix() for path in repository.glob("*/*") if not path.name.startswith(".")]


def test_a_bundle_holds_all_files_of_the_contract(bundle: Path) -> None:
    assert bundle.name == "1"
    assert {path.relative_to(bundle).as_posix() for path in bundle.rglob("*") if path.is_file()} == {
        "saved_model.pb",
        "fingerprint.pb",
        "variables/variables.index",
        "variables/variables.data-00000-of-00001",
        "predict.onnx",
        "explain.onnx",
        "assets.extra/tf_serving_warmup_requests",
        "manifest.json",
        "MODEL_CARD.md",
    }
    assert [path.name for path in bundle.parent.iterdir()] == ["1"]


def test_signatures_have_the_names_of_the_contract(bundle: Path) -> None:
    signatures = load_manifest(bundle).signatures
    names = {
        key: ([tensor.name for tensor in entry.inputs], {tensor.name for tensor in entry.outputs})
        for key, entry in signatures.items()
    }
    assert names == {
        "serving_default": (["image"], {"probabilities"}),
        "explain": (["image"], {"probabilities", *RELEVANCE}),
        "explain_target": (["image", "target"], {"probabilities", *RELEVANCE}),
    }
    shapes = {tensor.name: (tensor.dtype, tensor.shape) for tensor in signatures["explain_target"].outputs}
    assert shapes["relevance"] == ("float32", (None, 8, 8, 1))
    assert shapes["target"] == ("int32", (None,))
    assert shapes["explained_value"] == shapes["conservation_gap"] == ("float32", (None,))


def test_every_format_has_the_same_names_and_dtypes(bundle: Path) -> None:
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        saved = tf.compat.v1.saved_model.load(session, ["serve"], str(bundle)).signature_def
    for key, file in (("serving_default", "predict.onnx"), ("explain_target", "explain.onnx")):
        entry = load_manifest(bundle).signatures[key]
        runtime = onnxruntime.InferenceSession(str(bundle / file), providers=["CPUExecutionProvider"])
        assert [tensor.onnx_name for tensor in entry.inputs] == [value.name for value in runtime.get_inputs()]
        assert [tensor.onnx_name for tensor in entry.outputs] == [value.name for value in runtime.get_outputs()]
        assert {tensor.name for tensor in entry.inputs} == set(saved[key].inputs)
        assert {tensor.name for tensor in entry.outputs} == set(saved[key].outputs)
        renamed = {tensor.name: tensor.onnx_name for tensor in entry.outputs if tensor.name != tensor.onnx_name}
        assert renamed == ({} if key == "serving_default" else {"target": "target_output"})
        assert {value.shape[0] for value in (*runtime.get_inputs(), *runtime.get_outputs())} == {"batch"}


def test_signatures_run_in_a_session_as_tensorflow_serving_runs_them(bundle: Path, run_folder: Path) -> None:
    images = np.load(run_folder / "samples.npz")["image"][:5]
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        signatures = tf.compat.v1.saved_model.load(session, ["serve"], str(bundle)).signature_def

        def run(key: str, **inputs: np.ndarray) -> dict[str, np.ndarray]:
            feed = {signatures[key].inputs[name].name: values for name, values in inputs.items()}
            return dict(session.run({name: info.name for name, info in signatures[key].outputs.items()}, feed))

        predicted = run("serving_default", image=images)["probabilities"]
        explained = run("explain", image=images)
        targeted = run("explain_target", image=images, target=np.array([-1, 0, 1, 2, -1], np.int32))
    model = keras.saving.load_model(run_folder / "model.keras")
    np.testing.assert_allclose(predicted, model(images), rtol=0, atol=1e-6)
    np.testing.assert_array_equal(explained["target"], predicted.argmax(axis=1))
    np.testing.assert_array_equal(targeted["target"], [predicted[0].argmax(), 0, 1, 2, predicted[4].argmax()])
    logits = keras.Model(model.inputs[0], model.get_layer("logits").output)(images).numpy()
    np.testing.assert_allclose(targeted["explained_value"], logits[range(5), targeted["target"]], rtol=1e-5, atol=1e-6)
    sums = explained["relevance"].reshape(5, -1).sum(axis=1)
    np.testing.assert_allclose(explained["conservation_gap"], explained["explained_value"] - sums, rtol=0, atol=1e-5)


def test_relevance_of_one_dense_layer_is_input_times_kernel(tmp_path: Path) -> None:
    model = keras.Sequential([keras.Input((3,), name="x"), keras.layers.Dense(2, use_bias=False, name="scores")])
    kernel = np.array([[1.0, 2.0], [3.0, -4.0], [5.0, 6.0]], np.float32)
    model.get_layer("scores").set_weights([kernel])
    bundle = exported(model, tmp_path)
    runtime = onnxruntime.InferenceSession(str(bundle / "explain.onnx"), providers=["CPUExecutionProvider"])
    x = np.array([[1.0, 2.0, 3.0], [1.0, 2.0, 3.0]], np.float32)
    outputs = runtime.run(
        ["relevance", "explained_value", "target_output"], {"x": x, "target": np.array([-1, 1], np.int32)}
    )
    # Scores: 1*1 + 2*3 + 3*5 = 22 and 1*2 - 2*4 + 3*6 = 12. With one linear layer, R_i = x_i * w_it (but for epsilon).
    np.testing.assert_allclose(outputs[0], [[1, 6, 15], [2, -8, 18]], rtol=1e-6)
    np.testing.assert_allclose(outputs[1], [22, 12], rtol=1e-6)
    np.testing.assert_array_equal(outputs[2], [0, 1])


@pytest.mark.slow
@pytest.mark.parametrize("kind", models.EXPLAINED)
def test_strangers_models_are_explained(kind: str, tmp_path: Path) -> None:
    bundle = exported(models.EXPLAINED[kind](), tmp_path)
    report = verify_bundle(bundle)
    assert report.conservation is not None
    assert max(comparison.relative for comparison in report.parity.comparisons) <= 1e-5


@pytest.mark.parametrize("kind", models.PREDICTED)
def test_strangers_models_predict_the_same_in_every_format(kind: str, tmp_path: Path) -> None:
    bundle = exported(models.PREDICTED[kind](), tmp_path, explain=False)
    manifest = load_manifest(bundle)
    assert manifest.explanation is None
    assert manifest.conservation is None
    assert list(manifest.signatures) == ["serving_default"]
    assert not (bundle / "explain.onnx").exists()
    assert manifest.parity["samples"] == "generated"
    assert verify_bundle(bundle).conservation is None


@pytest.mark.slow
def test_two_inputs_are_explained_each_in_its_own_shape(tmp_path: Path) -> None:
    manifest = load_manifest(exported(models.two_inputs_two_outputs("scan"), tmp_path, output="risk"))
    assert [tensor.name for tensor in manifest.inputs] == ["age", "scan"]
    assert {tensor.name: tensor.shape for tensor in manifest.outputs} == {"kind": (None, 3), "risk": (None, 1)}
    assert manifest.explanation is not None
    assert manifest.explanation.output == "risk"
    assert manifest.explanation.num_targets == 1
    assert manifest.explanation.relevance == {"age": "relevance_age", "scan": "relevance_scan"}
    shapes = {tensor.name: tensor.shape for tensor in manifest.signatures["explain"].outputs}
    assert shapes["relevance_age"] == (None, 4)
    assert shapes["relevance_scan"] == (None, 6, 6, 2)


def test_unnamed_inputs_have_one_name_whatever_was_built_before(tmp_path: Path) -> None:
    manifest = load_manifest(exported(models.unnamed_sequential(), tmp_path, explain=False))
    config = json.loads(keras.saving.load_model(tmp_path / "mine.keras").to_json())
    assert manifest.inputs[0].name == config["config"]["layers"][0]["config"]["name"]
    assert not manifest.inputs[0].name.startswith("keras_tensor")


def test_token_ids_and_lengths_are_free(tmp_path: Path) -> None:
    manifest = load_manifest(exported(models.tokens_model(), tmp_path, explain=False))
    assert (manifest.inputs[0].dtype, manifest.inputs[0].shape) == ("int32", (None, None))
    runtime = onnxruntime.InferenceSession(
        str(tmp_path / "repository" / "mine" / "1" / "predict.onnx"), providers=["CPUExecutionProvider"]
    )
    model = keras.saving.load_model(tmp_path / "mine.keras")
    for shape in ((1, 3), (4, 40)):
        tokens = np.random.default_rng(0).integers(0, 7, shape).astype(np.int32)
        np.testing.assert_allclose(runtime.run(None, {"tokens": tokens})[0], model(tokens), rtol=0, atol=1e-6)


@pytest.mark.slow
def test_an_encoder_of_tokens_is_explained_alike_in_every_format(tmp_path: Path) -> None:
    """Token ids can't be changed by rounding: nothing widens a tolerance."""
    keras.utils.set_random_seed(1)
    tokens = keras.Input((16,), dtype="int32", name="tokens")
    h = keras.layers.Embedding(50, 32)(tokens) + keras.layers.Embedding(16, 32)(keras.ops.arange(16))
    for _ in range(2):
        a = keras.layers.LayerNormalization()(h)
        h = keras.layers.Add()([h, keras.layers.MultiHeadAttention(2, 16)(a, a)])
        m = keras.layers.Dense(64, activation="gelu")(keras.layers.LayerNormalization()(h))
        h = keras.layers.Add()([h, keras.layers.Dense(32)(m)])
    h = keras.layers.GlobalAveragePooling1D()(keras.layers.LayerNormalization()(h))
    bundle = exported(keras.Model(tokens, keras.layers.Dense(3, activation="softmax")(h)), tmp_path)
    manifest = load_manifest(bundle)
    assert manifest.explanation is not None
    assert manifest.explanation.composite == "attnlrp"
    differences = {c["relative"] for c in manifest.parity["comparisons"] if c["output"] == "relevance"}
    assert len(differences) > 1
    assert max(differences) <= 2e-6


@pytest.mark.parametrize("given", [False, True], ids=["generated", "given samples"])
def test_a_format_that_is_wrong_at_odd_sizes_publishes_nothing(
    given: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Padding from a negative quotient: ONNX rounds it toward zero, TensorFlow down, and even sizes leave no rest."""

    def pad_before(windows: Windows, input_sizes: Sequence[Any]) -> list[Any]:
        geometry = zip(input_sizes, windows.extents, windows.strides, strict=True)
        return [((-(-size // stride) - 1) * stride + extent - size) // 2 for size, extent, stride in geometry]

    monkeypatch.setattr(Windows, "pad_before", pad_before)
    samples = None
    if given:
        samples = tmp_path / "samples.npz"
        np.savez(samples, series=np.random.default_rng(0).normal(size=(4, 12, 2)))
    with pytest.raises(ParityError, match=r"'relevance' on .* inputs: SavedModel and ONNX"):
        exported(models.strided_model(), tmp_path, samples=samples)
    assert visible(tmp_path / "repository") == []


@pytest.mark.parametrize(
    ("model", "options", "error", "message"),
    [
        (models.cumulative_model, {}, ExplanationError, r"operation 'Cumprod'.*--no-explain"),
        (models.two_inputs_two_outputs, {}, ExplanationError, r"several outputs: kind, risk.*--no-explain"),
        (models.lookup_model, {"explain": False}, ConversionError, "no equivalent of the resource .*LookupTable"),
        (
            models.logarithm_model,
            {"explain": False},
            ParityError,
            r"'log' of signature 'serving_default' is nan at index .*--samples",
        ),
        (models.unnamed_sequential, {"name": "a/b"}, PublicationError, "The name of a model"),
    ],
)
def test_refusals_say_why_and_publish_nothing(
    model: Callable[[], keras.Model], options: dict[str, object], error: type[ExportError], message: str, tmp_path: Path
) -> None:
    model().save(tmp_path / "mine.keras")
    arguments = {"repository": tmp_path / "repository", "name": "mine", **options}
    with pytest.raises(error, match=message):
        export_bundle(tmp_path / "mine.keras", **arguments)  # type: ignore[arg-type]
    assert not (tmp_path / "repository").exists()


@pytest.mark.parametrize(
    ("composite", "message"),
    [
        ('[[rules]]\nrule = "magic"\n', r"magic"),
        ('[[rules]]\nrule = "epsilon"\nlayers = ["no_such_layer"]\n', r"no_such_layer"),
        ('[[rules]]\nrule = "z_plus"\nkinds = ["convolution"]\n[[rules]]\nrule = "epsilon"\n', r"nothing is all that"),
    ],
    ids=["unknown rule", "no layer", "no convolution"],
)
def test_a_composite_that_does_not_fit_publishes_nothing(composite: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_text(composite)
    with pytest.raises((ExplanationError, ExplainError), match=message):
        exported(models.unnamed_sequential(), tmp_path, composite=read_composite(tmp_path / "mine.toml"))
    assert not (tmp_path / "repository").exists()


@pytest.mark.parametrize(
    ("model", "options", "message"),
    [
        (
            models.two_inputs_two_outputs,
            {"output": "nope"},
            r"`output` to be one of kind, risk. Received: output='nope'",
        ),
        (models.image_model, {"layers": ["poling"]}, r"one of the model's layers. Received: 'poling'. .*at: pooling, "),
        (models.image_model, {"layers": ["convolution"]}, r"crosses. Received: 'convolution', where none arrives"),
        (models.doubled_softmax_model, {}, r"final softmax to come last.*operation 'Mul'.*layer 'softmax'"),
        (models.argmax_model, {}, r"an output of floating numbers.*int64|int32"),
        (models.unnamed_sequential, {"low": 0.0, "high": 1.0}, r"'epsilon' .* has no rule that takes high, low"),
        (models.image_model, {"low": 0.0}, r"`low` and `high` go together"),
    ],
    ids=[
        "output",
        "unknown layer",
        "folded layer",
        "softmax not last",
        "not floating",
        "no use for bounds",
        "one bound",
    ],
)
def test_what_can_not_be_explained_as_asked_publishes_nothing(
    model: Callable[[], keras.Model], options: dict[str, object], message: str, tmp_path: Path
) -> None:
    with pytest.raises(ExplanationError, match=message):
        exported(model(), tmp_path, **options)
    assert not (tmp_path / "repository").exists()


def test_relevance_that_is_not_finite_publishes_nothing(tmp_path: Path) -> None:
    """The prediction is a softmax, so finite; the score below it, and its relevance, overflow float32."""
    np.savez(tmp_path / "samples.npz", x=np.full((2, 2), 1e30, np.float32))
    with pytest.raises(ParityError, match=r"Every output must be finite.*--samples"):
        exported(models.overflowing_model(), tmp_path, samples=tmp_path / "samples.npz")
    assert not (tmp_path / "repository").exists()


def test_relevance_at_inner_layers_is_an_output_in_every_format(run_folder: Path, tmp_path: Path) -> None:
    asked = ["pooling", "relu"]
    folder = export_bundle(run_folder, repository=tmp_path, name="mine", layers=asked)
    manifest = load_manifest(folder)
    assert manifest.explanation is not None
    assert manifest.explanation.layers == {layer: f"relevance_at_{layer}" for layer in asked}
    shapes = {tensor.name: tensor.shape for tensor in manifest.signatures["explain"].outputs}
    assert shapes["relevance_at_pooling"] == (None, 4, 4, 4)
    compared = {(c["signature"], c["output"], c["right"]) for c in manifest.parity["comparisons"]}
    signatures, formats = ("explain", "explain_target"), ("SavedModel", "ONNX")
    assert {(s, "relevance_at_relu", f) for s in signatures for f in formats} <= compared
    assert "`relevance_at_relu` that of layer `relu`" in (folder / "MODEL_CARD.md").read_text()
    report = verify_bundle(folder).conservation
    assert report is not None
    with np.load(run_folder / "samples.npz") as samples:
        images = samples["image"][: report.examples]
    session = onnxruntime.InferenceSession(folder / "explain.onnx")
    names = [f"relevance_at_{layer}" for layer in asked]
    found = session.run(names, {"image": images, "target": np.full(len(images), -1, np.int32)})
    arrived = {layer.layer: layer.relevance_out for layer in report.layers}
    for layer, relevance in zip(asked, found, strict=True):  # what verify's table says arrives at the layer
        assert relevance.reshape(len(images), -1).sum(axis=1).mean() == pytest.approx(arrived[layer], rel=1e-4)


@pytest.mark.slow
def test_a_run_folder_knows_the_bounds_that_the_default_composite_needs(run_folder: Path, tmp_path: Path) -> None:
    source = Path(shutil.copytree(run_folder, tmp_path / "run"))
    run = json.loads((source / "run.json").read_text())
    (source / "run.json").write_text(json.dumps({**run, "pixel_range": [0.0, 16.0]}))
    bundle = export_bundle(source, repository=tmp_path / "repository", name="digits")
    explanation = load_manifest(bundle).explanation
    assert explanation is not None
    assert explanation.composite == "epsilon_gamma_box"
    assert {rule["rule"]: rule["parameters"] for rule in explanation.rules}["z_box"] == {
        "epsilon": 1e-6,
        "bias": "absorb",
        "low": 0.0,
        "high": 16.0,
    }
    verify_bundle(bundle)


@pytest.mark.slow
def test_a_composite_of_ones_own_is_exported_and_recorded(tmp_path: Path) -> None:
    names, rules = ("first", "square", "third", "scores"), ("norm", "pass", "epsilon", "zero")
    chain = [keras.layers.Dense(5, activation="relu", name=name) for name in names[:-1]]
    model = keras.Sequential([keras.Input((5,), name="x"), *chain, keras.layers.Dense(2, name="scores")])
    own = "".join(f'[[rules]]\nrule = "{rule}"\nlayers = ["{name}"]\n' for name, rule in zip(names, rules, strict=True))
    (tmp_path / "mine.toml").write_text(f'bias = "ignore"\n{own}')
    explanation = load_manifest(exported(model, tmp_path, composite=read_composite(tmp_path / "mine.toml"))).explanation
    assert explanation is not None
    assert (explanation.composite, explanation.reason) == ("mine", "asked for by mine.toml")
    assert (explanation.epsilon, explanation.bias) == (1e-6, "ignore")
    assert [(rule["layer"], rule["rule"]) for rule in explanation.rules] == list(zip(names, rules, strict=True))


@pytest.mark.slow
def test_the_manifest_says_that_attention_was_seen_and_why_it_decides(tmp_path: Path) -> None:
    x = keras.Input((4, 6), name="x")
    pooled = keras.layers.GlobalAveragePooling1D()(keras.layers.MultiHeadAttention(2, 3, name="heads")(x, x))
    model = keras.Model(x, keras.layers.Dense(2, activation="softmax")(pooled))
    explanation = load_manifest(exported(model, tmp_path)).explanation
    assert explanation is not None
    assert explanation.composite == "attnlrp"
    assert explanation.reason == (
        "chosen by the model's operations: it has softmax attention (softmax between two products in heads), and "
        "AttnLRP was found more faithful in language models than attention taken as a gate (Achtibat et al. 2024)"
    )


@pytest.mark.slow
def test_a_regression_output_is_explained_by_its_value(tmp_path: Path) -> None:
    x = keras.Input((3,), name="x")
    price = keras.layers.Dense(1, name="price")
    model = keras.Model(x, [price(x), keras.layers.Dense(2, activation="softmax", name="kind")(x)])
    price.set_weights([np.array([[1.0], [-2.0], [3.0]]), np.array([0.5])])
    folder = exported(model, tmp_path, output="price")
    explanation = load_manifest(folder).explanation
    assert explanation is not None
    assert (explanation.output, explanation.explained, explanation.num_targets) == ("price", "output", 1)
    card = (folder / "MODEL_CARD.md").read_text()
    assert "Positive values raise the output, negative ones lower it." in card
    assert "the value of `price`" in card
    assert "class" not in card.partition("## Explanations")[2].partition("|")[0]
    session = onnxruntime.InferenceSession(folder / "explain.onnx")
    names = ["price", "explained_value", "relevance", "target_output"]
    found = session.run(names, {"x": np.array([[1, 2, 4]], np.float32), "target": np.array([-1], np.int32)})
    value, explained, relevance, target = found
    # 1 - 4 + 12 + 0.5: the bias absorbs its own 0.5
    assert value.item() == explained.item() == pytest.approx(9.5)
    np.testing.assert_allclose(relevance, [[1, -4, 12]], rtol=1e-5)
    assert target.tolist() == [0]


def test_a_vocabulary_is_kept_with_its_digest(tmp_path: Path) -> None:
    words = tmp_path / "words.txt"
    words.write_text("\n[UNK]\ngood\n")
    folder = exported(models.tokens_model(), tmp_path, vocabulary=words)
    manifest = load_manifest(folder)
    assert manifest.vocabulary == "assets/vocabulary.txt"
    assert manifest.vocabulary in manifest.files
    assert read_vocabulary(folder / manifest.vocabulary).words == ("", "[UNK]", "good")
    verify_bundle(folder)


def test_a_vocabulary_for_a_model_without_token_ids_publishes_nothing(tmp_path: Path) -> None:
    (tmp_path / "words.txt").write_text("a\n")
    with pytest.raises(SourceError, match="one input of token ids"):
        exported(models.gelu_model(), tmp_path, vocabulary=tmp_path / "words.txt")
    assert not (tmp_path / "repository").exists()


def test_an_input_name_that_tensorflow_has_no_room_for_is_refused(tmp_path: Path) -> None:
    model = keras.Sequential([keras.Input((2,), name="user age"), keras.layers.Dense(1)])
    with pytest.raises(InterfaceError, match=r"The name of an input must be letters.*'user age'"):
        exported(model, tmp_path, explain=False)


def test_names_that_the_explanation_needs_are_refused(tmp_path: Path) -> None:
    model = keras.Sequential([keras.Input((2,), name="target"), keras.layers.Dense(2, name="relevance")])
    with pytest.raises(InterfaceError, match=r"\['relevance', 'target'\] among its inputs and outputs.*--no-explain"):
        exported(model, tmp_path)


def test_an_output_may_bear_the_name_of_an_input_elsewhere_in_the_graph(tmp_path: Path) -> None:
    inputs = keras.Input((3,), name="x")
    bundle = exported(keras.Model(inputs, [inputs, keras.layers.Dense(1, name="y")(inputs)]), tmp_path, explain=False)
    entry = load_manifest(bundle).signatures["serving_default"]
    assert {tensor.name: tensor.onnx_name for tensor in entry.outputs} == {"x": "x_output", "y": "y"}


def test_an_existing_version_is_refused_before_any_work(bundle: Path, run_folder: Path) -> None:
    lines: list[str] = []
    with pytest.raises(PublicationError, match="Version 1 of 'digits' exists"):
        export_bundle(run_folder, repository=bundle.parents[1], name="digits", version=1, progress=lines.append)
    assert lines == []


def test_labels_that_do_not_fit_the_scores_are_refused(run_folder: Path, tmp_path: Path) -> None:
    for file in ("model.keras", "samples.npz"):
        (tmp_path / file).write_bytes((run_folder / file).read_bytes())
    (tmp_path / "run.json").write_text(json.dumps({"class_labels": ["only one"]}))
    with pytest.raises(SourceError, match="one class label for each of the model's 3 scores"):
        export_bundle(tmp_path, repository=tmp_path / "repository", name="mine", explain=False)


def test_samples_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "samples.npz", other=np.zeros((2, 5), np.float32))
    with pytest.raises(SamplesError, match="one array for each input of the model"):
        exported(models.gelu_model(), tmp_path, explain=False, samples=tmp_path / "samples.npz")


def test_given_samples_are_the_only_ones_that_count(tmp_path: Path) -> None:
    np.savez(tmp_path / "samples.npz", x=np.ones((3, 4), np.float32))  # the logarithm of generated ones is NaN
    bundle = exported(models.logarithm_model(), tmp_path, explain=False, samples=tmp_path / "samples.npz")
    assert load_manifest(bundle).parity["samples"] == "samples.npz"


def test_provenance_tells_data_seed_packages_metrics_and_the_source(bundle: Path) -> None:
    provenance = load_manifest(bundle).provenance
    assert provenance["data"]["digest"] == "ab" * 32
    assert provenance["seed"] == 7
    assert provenance["packages"]["tensorflow"] == tf.__version__
    assert provenance["metrics"]["accuracy"] == 0.5
    assert provenance["source"]["file"] == "model.keras"
    assert len(provenance["source"]["sha256"]) == 64


def test_progress_has_a_line_for_every_step(published: tuple[Path, list[str]]) -> None:
    bundle, lines = published
    steps = ["loading", "inputs", "deriving", "writing predict.onnx", "writing explain.onnx", "writing the SavedModel"]
    steps += [
        "the reference",
        "parity",
        "conservation",
        "writing the warm-up",
        "writing the manifest of version 1",
        f"published {bundle}",
    ]
    assert len(lines) == len(steps)
    assert all(line.startswith(step) for line, step in zip(lines, steps, strict=True))


@pytest.mark.parametrize(
    "step", ["inputs", "writing predict", "writing the SavedModel", "parity", "writing the manifest"]
)
def test_an_interruption_at_any_step_leaves_nothing(step: str, tmp_path: Path) -> None:
    def interrupt(line: str) -> None:
        if line.startswith(step):
            raise KeyboardInterrupt

    models.unnamed_sequential().save(tmp_path / "mine.keras")
    with pytest.raises(KeyboardInterrupt):
        export_bundle(
            tmp_path / "mine.keras", repository=tmp_path / "repository", name="mine", explain=False, progress=interrupt
        )
    assert not (tmp_path / "repository").exists()


@pytest.mark.slow
@pytest.mark.parametrize("with_signal", [signal.SIGKILL, signal.SIGTERM])
def test_a_killed_export_leaves_nothing_visible_and_the_next_one_cleans_up(
    with_signal: signal.Signals, tmp_path: Path
) -> None:
    models.unnamed_sequential().save(tmp_path / "mine.keras")
    repository = tmp_path / "repository"
    code = (
        "import sys, time; from pathlib import Path; from export.bundle import export_bundle\n"
        "def progress(line):\n"
        "    if line.startswith('writing the manifest'):\n"
        "        print('ready', flush=True); time.sleep(60)\n"
        "export_bundle(Path(sys.argv[1]), repository=Path(sys.argv[2]), name='mine', explain=False, progress=progress)"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "mine.keras"), str(repository)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        process.send_signal(with_signal)
    assert process.returncode == -with_signal
    assert visible(repository) == []
    assert any(path.name == "predict.onnx" for path in repository.rglob("*"))  # it was well under way
    export_bundle(tmp_path / "mine.keras", repository=repository, name="mine", explain=False)
    assert [path.name for path in (repository / "mine").iterdir()] == ["1"]


@pytest.mark.slow
def test_the_same_source_gives_the_same_onnx_files(bundle: Path, run_folder: Path, tmp_path: Path) -> None:
    again = export_bundle(run_folder, repository=tmp_path, name="digits", version=5)
    files = [load_manifest(folder).files for folder in (bundle, again)]
    for name in ("predict.onnx", "explain.onnx", "assets.extra/tf_serving_warmup_requests"):
        assert files[0][name] == files[1][name], name
    assert load_manifest(again).version == 5
