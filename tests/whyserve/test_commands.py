"""The commands on real things: a network trained on the digits, its bundle, a server process."""

import itertools
import json
import os
import re
import shutil
import subprocess
import sys

import numpy as np
import pytest

from tests.whyserve.conftest import ROOT, run_whyserve

pytestmark = pytest.mark.slow


@pytest.fixture
def places(server, repository):
    return {
        "REST": ("--url", server.rest_url),
        "gRPC": ("--url", f"grpc://{server.grpc_address}"),
        "bundle": ("--bundle", repository / "digits"),
    }


def ask(verb, samples, *options):
    return json.loads(run_whyserve(verb, "digits", "--input", samples, "--json", *options).stdout)


def test_training_leaves_a_run_folder(run_folder):
    config = json.loads((run_folder / "run.json").read_text())["config"]
    assert (config["epochs"], config["architecture_options"]) == (3, {"units": [32]})
    assert (run_folder / "model.keras").is_file()


@pytest.fixture(scope="module")
def plain(repository, run_folder, tmp_path_factory):
    """The model's folder with a second version, exported without explanations."""
    model = tmp_path_factory.mktemp("plain") / "digits"
    shutil.copytree(repository / "digits", model)
    arguments = ("export", run_folder, "--repository", model.parent, "--name", "digits", "--no-explain", "--json")
    report = json.loads(run_whyserve(*arguments).stdout)
    assert report == {"bundle": str(model / "2"), "name": "digits", "version": 2}
    return model


def test_export_takes_the_next_version_and_names_it(plain):
    assert sorted(path.name for path in plain.iterdir()) == ["1", "2"]


def test_a_bundle_without_explanations_predicts_and_says_why_not_more(plain, samples):
    assert not (plain / "2" / "explain.onnx").exists()
    assert len(ask("predict", samples, "--bundle", plain)["outputs"]["probabilities"]) == 32
    result = run_whyserve("explain", "digits", "--input", samples, "--bundle", plain, status=1)
    assert "--no-explain" in result.stderr


def test_export_of_a_missing_file_fails_with_one_message(tmp_path):
    arguments = ("export", tmp_path / "missing.keras", "--repository", tmp_path / "repository", "--name", "x")
    result = run_whyserve(*arguments, status=1)
    assert "missing.keras" in result.stderr
    assert "Traceback" not in result.stderr
    assert not (tmp_path / "repository" / "x").exists()


OWN_LAYER = """
import keras

@keras.saving.register_keras_serializable(package="own")
class Twice(keras.layers.Layer):
    def call(self, x):
        return 2 * x
"""
SAVED = """
import keras, own_layers
keras.Sequential([keras.Input((3,), name="x"), own_layers.Twice(), keras.layers.Dense(2)]).save("own.keras")
"""


def test_a_model_with_layers_of_its_own_is_exported_with_their_module(tmp_path):
    (tmp_path / "own_layers.py").write_text(OWN_LAYER)
    subprocess.run([sys.executable, "-c", SAVED], cwd=tmp_path, check=True, capture_output=True)
    arguments = ("export", "own.keras", "--repository", "repository", "--name", "own")
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}

    def export(*options):
        command = [sys.executable, "-P", "-m", "whyserve", *arguments, *options]  # -P: as the installed command, no ''
        return subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)

    refused = export()
    assert (refused.returncode, "isn't registered here: 'Twice'" in refused.stderr) == (1, True)
    assert "--import MODULE" in refused.stderr
    missing = export("--import", "own_layers.py")
    assert missing.returncode == 1
    assert "Received: --import own_layers.py (No module named" in missing.stderr
    done = export("--import", "own_layers")
    assert done.returncode == 0, done.stderr[-3000:]
    assert (tmp_path / "repository" / "own" / "1" / "explain.onnx").is_file()


def test_verify_shows_the_accounts_of_every_layer(repository):
    result = run_whyserve("verify", repository / "digits")
    for text in ("relevance layer by layer", "absorbed by bias", "by stabilizer", "logits", "dense1_relu", "scaling"):
        assert text in result.stdout


def test_verify_passes_what_was_exported_with_the_accounts_as_json(repository):
    report = json.loads(run_whyserve("verify", repository / "digits", "--json").stdout)
    assert report["name"] == "digits"
    layers = report["conservation"]["layers"]
    for above, below in itertools.pairwise(layers):  # one after the other: what leaves one arrives at the next
        assert below["relevance_out"] == pytest.approx(above["relevance_in"], rel=1e-4)
    for layer in layers:
        accounted = layer["relevance_in"] + layer["absorbed_bias"] + layer["absorbed_stabilizer"]
        assert layer["relevance_out"] == pytest.approx(accounted, rel=1e-4)


def test_verify_refuses_a_changed_file(repository, tmp_path):
    shutil.copytree(repository / "digits", tmp_path / "digits")
    with (tmp_path / "digits" / "1" / "MODEL_CARD.md").open("a") as card:
        card.write("changed")
    result = run_whyserve("verify", tmp_path / "digits" / "1", status=1)
    assert "MODEL_CARD.md" in result.stderr


def test_every_way_of_asking_gives_the_same_prediction(places, samples):
    answers = {place: ask("predict", samples, *options) for place, options in places.items()}
    expected = np.array(answers["bundle"]["outputs"]["probabilities"])
    assert expected.shape == (32, 10)
    for answer in answers.values():
        assert (answer["model"], answer["version"]) == ("digits", 1)
        np.testing.assert_allclose(answer["outputs"]["probabilities"], expected, atol=1e-6)


@pytest.mark.parametrize(
    "options",
    [(), ("--target", 3), ("--top-k", 3), ("--target", 3, "--against", 5), ("--against", -1, "--target", 3),
     tuple(f"--target={digit}" for digit in (1, 2, 3, 4))],
    ids=["predicted", "target", "top-k", "contrast", "against the predicted", "each its own"],
)  # fmt: skip
def test_every_way_of_asking_gives_the_same_explanation(places, samples, options):
    answers = {place: ask("explain", samples, "--limit", 4, *where, *options) for place, where in places.items()}
    expected = answers.pop("bundle")["explanations"]
    for answer in answers.values():
        for one, other in zip(flat(answer["explanations"]), flat(expected), strict=True):
            assert (one["target"], one["label"]) == (other["target"], str(other["target"]))
            assert one["explained_value"] == pytest.approx(other["explained_value"], abs=1e-5)
            # The gap is a difference of sums: over REST it is computed again, in float64.
            assert one["conservation_gap"] == pytest.approx(other["conservation_gap"], abs=1e-4)
            np.testing.assert_allclose(one["relevance"]["image"], other["relevance"]["image"], atol=1e-5)
            assert (one.get("contrast"), one.get("against")) == (other.get("contrast"), other.get("against"))
            np.testing.assert_allclose(
                one["relevance_at"]["dense1_relu"], other["relevance_at"]["dense1_relu"], atol=1e-5
            )


@pytest.mark.parametrize("place", ["REST", "bundle"])
def test_labels_may_stand_for_indices(places, samples, place):
    # A label that is a number is an index on the command line; over REST a string is a label, and the same class here.
    by_index = ask("explain", samples, "--limit", 2, "--target", 3, "--against", 5, *places[place])
    assert [one["label"] for one in flat(by_index["explanations"])] == ["3", "3"]
    result = run_whyserve("explain", "digits", "--input", samples, "--target", "cat", *places[place], status=1)
    assert "0, 1, 2, 3" in result.stderr
    assert "cat" in result.stderr


def flat(explanations):
    return [one for attributions in explanations for one in attributions]


def test_relevance_adds_up_to_the_explained_value_less_the_gap(places, samples):
    for one in flat(ask("explain", samples, *places["REST"])["explanations"]):
        total = np.sum(one["relevance"]["image"])
        assert total + one["conservation_gap"] == pytest.approx(one["explained_value"], abs=1e-4)


def test_top_k_explains_the_highest_scores_in_order(places, samples):
    answer = ask("explain", samples, "--limit", 2, "--top-k", 3, *places["gRPC"])
    for scores, attributions in zip(answer["outputs"]["probabilities"], answer["explanations"], strict=True):
        assert [one["target"] for one in attributions] == np.argsort(scores)[::-1][:3].tolist()


def test_explain_prints_a_table_and_writes_a_picture(places, samples, tmp_path):
    picture = tmp_path / "why.png"
    options = ("--limit", 3, "--out", picture, *places["REST"])
    result = run_whyserve("explain", "digits", "--input", samples, *options)
    assert picture.read_bytes().startswith(b"\x89PNG")
    for heading in ("prediction", "true", "explained value", "conservation gap"):
        assert heading in result.stdout
    assert f"picture: {picture}" in result.stderr


def test_a_contrast_and_an_inner_layer_are_drawn(places, samples, tmp_path):
    picture = tmp_path / "why.svg"
    options = ("--limit", 2, "--against", 3, "--layer", "dense1_relu", "--out", picture, *places["bundle"])
    assert "rather than 3" in run_whyserve("explain", "digits", "--input", samples, *options).stdout
    assert picture.read_text().startswith("<?xml")
    options = ("--layer", "nope", "--out", picture, *places["REST"])
    result = run_whyserve("explain", "digits", "--input", samples, *options, status=1)
    assert "one of dense1_relu. Received: 'nope'" in result.stderr


def test_csv_rows_of_pixels_are_explained(places, samples, tmp_path):
    with np.load(samples) as arrays:
        np.savetxt(tmp_path / "rows.csv", arrays["image"][:2].reshape(2, 64), delimiter=",")
    answer = ask("explain", tmp_path / "rows.csv", *places["REST"])
    reference = ask("explain", samples, "--limit", 2, *places["REST"])
    assert answer == reference


@pytest.mark.parametrize("place", ["REST", "gRPC", "bundle"])
def test_a_target_out_of_range_is_refused(places, samples, place):
    result = run_whyserve("explain", "digits", "--input", samples, "--target", 10, *places[place], status=1)
    assert "10" in result.stderr
    assert "9" in result.stderr
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize("place", ["REST", "gRPC", "bundle"])
def test_nan_is_refused(places, tmp_path, place):
    np.save(tmp_path / "x.npy", np.full((1, 8, 8, 1), np.nan))
    result = run_whyserve("predict", "digits", "--input", tmp_path / "x.npy", *places[place], status=1)
    assert "finite" in result.stderr or "NaN" in result.stderr


@pytest.mark.parametrize("scheme", ["http", "grpc"])
def test_no_server_is_told_with_the_way_out(samples, scheme):
    url = f"{scheme}://127.0.0.1:9"
    result = run_whyserve("predict", "digits", "--input", samples, "--url", url, status=1)
    assert f"No server answers at {url}" in result.stderr
    assert "whyserve serve" in result.stderr


@pytest.mark.parametrize("place", ["REST", "gRPC"])
def test_an_unknown_model_is_told_in_the_server_s_words(places, samples, place):
    result = run_whyserve("predict", "nobody", "--input", samples, *places[place], status=1)
    assert "nobody" in result.stderr


def test_another_name_than_the_bundle_s_is_refused(places, samples):
    result = run_whyserve("predict", "nobody", "--input", samples, *places["bundle"], status=1)
    assert "'digits'. Received: 'nobody'" in result.stderr


def test_an_unknown_version_is_told_in_the_server_s_words(places, samples):
    result = run_whyserve("predict", "digits", "--version", 77, "--input", samples, *places["REST"], status=1)
    assert "77" in result.stderr


@pytest.mark.parametrize(
    "options",
    [
        ("--target", 1, "--top-k", 2),
        ("--against", 1, "--top-k", 2),
        ("--text", "both"),
        ("--as", "pie"),
        ("--url", "ftp://x"),
        ("--bundle", ".", "--version", 1),
        ("--target", -2),
    ],
)
def test_options_that_contradict_are_wrong_usage(samples, options):
    run_whyserve("explain", "digits", "--input", samples, *options, status=2)


# A bag of words whose weights are known: "good" speaks for the class, "bad" against it.
TEXT_PROGRAM = """
import sys
from pathlib import Path

import keras
import numpy as np

from export.bundle import export_bundle

folder = Path(sys.argv[1])
embedding = keras.layers.Embedding(5, 1)
scores = keras.layers.Dense(1, use_bias=False, name="liked")
layers = [keras.Input((None,), dtype="int32", name="tokens"), embedding, keras.layers.GlobalAveragePooling1D(), scores]
model = keras.Sequential(layers)
embedding.set_weights([np.array([[0.0], [0.5], [3.0], [-6.0], [1.5]])])
scores.set_weights([np.array([[1.0]])])
model.save(folder / "model.keras")
(folder / "words.txt").write_text("\\n[UNK]\\ngood\\nbad\\nfilm\\n")
export_bundle(folder / "model.keras", repository=folder / "repository", name="reviews", vocabulary=folder / "words.txt")
"""


@pytest.fixture(scope="module")
def reviews(tmp_path_factory):
    folder = tmp_path_factory.mktemp("reviews")
    subprocess.run([sys.executable, "-c", TEXT_PROGRAM, folder], check=True, capture_output=True)
    return folder


def test_a_text_is_looked_up_asked_and_shown_word_by_word(reviews, tmp_path):
    page = tmp_path / "why.html"
    asked = ("explain", "reviews", "--text", "A good, BAD film!", "--bundle", reviews / "repository" / "reviews")
    result = run_whyserve(*asked, "--out", page)
    assert " a  good  bad  film " in result.stdout
    assert "1 of 4 words are not in the vocabulary" in result.stderr
    answer = json.loads(run_whyserve(*asked, "--json").stdout)
    ((one,),) = answer["explanations"]
    # The mean of 0.5, 3, -6 and 1.5; each word's part is a quarter of its own.
    # The stabiliser of 1e-6 takes 4e-6 of the mean of 0.25.
    np.testing.assert_allclose(one["relevance"]["tokens"], [0.125, 0.75, -1.5, 0.375], rtol=2e-5)
    assert one["explained_value"] == pytest.approx(-0.25)
    marks = re.findall(r'title="([^"]+)">(\w+)</mark>', page.read_text())
    assert [(word, float(amount)) for amount, word in marks] == [
        ("a", pytest.approx(0.125, abs=1e-4)),
        ("good", pytest.approx(0.75, abs=1e-4)),
        ("bad", pytest.approx(-1.5, abs=1e-4)),
        ("film", pytest.approx(0.375, abs=1e-4)),
    ]


def test_a_regression_is_told_by_its_output_s_name(reviews):
    where = ("--bundle", reviews / "repository" / "reviews")
    shown = run_whyserve("explain", "reviews", "--text", "good film", *where).stdout
    assert "why liked: 2.25, gap" in shown  # (3 + 1.5) / 2, and no word of a class or logit
    assert "logit" not in shown


def test_a_server_needs_the_vocabulary_of_the_command_line(reviews, tmp_path):
    from whyserve.process import ServerProcess

    with ServerProcess(
        reviews / "repository" / "reviews", "reviews", log=tmp_path / "log", flags=("--drain_delay_s=0",)
    ) as process:
        process.wait_until_available()
        asked = ("explain", "reviews", "--text", "good film", "--url", process.rest_url)
        assert "give it here" in run_whyserve(*asked, status=1).stderr
        shown = run_whyserve(*asked, "--vocabulary", reviews / "words.txt").stdout
    assert " good  film " in shown
    assert "why liked: 2.25" in shown
