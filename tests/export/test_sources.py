import io
import json
import zipfile
from pathlib import Path

import keras
import numpy as np
import pytest

from export.errors import SourceError
from export.sources import load_source
from tests.export import models


def saved(model: keras.Model, folder: Path) -> Path:
    path = folder / "mine.keras"
    model.save(path)
    return path


def test_a_run_folder_brings_its_labels_metrics_and_samples(run_folder: Path) -> None:
    source = load_source(run_folder)
    assert source.class_labels == ("cat", "dog", "owl")
    assert source.samples == run_folder / "samples.npz"
    assert source.metrics is not None
    assert source.metrics["accuracy"] == 0.5


def test_an_unfinished_training_is_refused(run_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "model.keras").write_bytes((run_folder / "model.keras").read_bytes())
    with pytest.raises(SourceError, match=r"run.json, which training writes when it is done.*resumes"):
        load_source(tmp_path)


@pytest.mark.parametrize(("name", "content"), [("run.json", "{"), ("run.json", "[]"), ("metrics.json", "1")])
def test_a_run_folder_with_broken_json_is_refused(run_folder: Path, tmp_path: Path, name: str, content: str) -> None:
    for file in ("model.keras", "run.json", "metrics.json"):
        (tmp_path / file).write_bytes((run_folder / file).read_bytes())
    (tmp_path / name).write_text(content)
    with pytest.raises(SourceError, match=f"{name} must be"):
        load_source(tmp_path)


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="which does not exist"):
        load_source(tmp_path / "none.keras")


def test_a_file_of_another_kind_is_refused(tmp_path: Path) -> None:
    (tmp_path / "model.h5").write_bytes(b"\x89HDF")
    with pytest.raises(SourceError, match=r"ending in `.keras`.*model.save"):
        load_source(tmp_path / "model.h5")


@pytest.mark.parametrize("kept", [0.0, 0.3, 0.9, 0.999])
def test_a_truncated_file_is_refused(run_folder: Path, tmp_path: Path, kept: float) -> None:
    content = (run_folder / "model.keras").read_bytes()
    (tmp_path / "cut.keras").write_bytes(content[: int(len(content) * kept)])
    with pytest.raises(SourceError, match="not a"):
        load_source(tmp_path / "cut.keras")


def test_a_damaged_file_is_refused(run_folder: Path, tmp_path: Path) -> None:
    content = bytearray((run_folder / "model.keras").read_bytes())
    content[len(content) // 2] ^= 0xFF
    (tmp_path / "damaged.keras").write_bytes(content)
    with pytest.raises(SourceError, match=r"not a complete `\.keras` archive"):
        load_source(tmp_path / "damaged.keras")


def test_an_archive_of_something_else_is_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "other.keras", "w") as archive:
        archive.writestr("readme.txt", "no model")
    with pytest.raises(SourceError, match=r"lacks config.json, metadata.json, model.weights.h5"):
        load_source(tmp_path / "other.keras")


def test_a_lambda_is_refused_by_the_name_of_its_layer(tmp_path: Path) -> None:
    model = keras.Sequential([keras.Input((2,)), keras.layers.Lambda(lambda x: x + 1, name="sneaky")])
    with pytest.raises(SourceError, match=r"holds a Lambda layer \('sneaky'\).*safe mode forbids"):
        load_source(saved(model, tmp_path))


def test_a_class_that_is_not_registered_is_refused(tmp_path: Path) -> None:
    path = saved(models.subclassed_model(), tmp_path)
    content = {}
    with zipfile.ZipFile(path) as archive:
        content = {name: archive.read(name) for name in archive.namelist()}
    config = json.loads(content["config.json"])
    config.update(registered_name="theirs>Net", class_name="Net", module="theirs")
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, data in {**content, "config.json": json.dumps(config).encode()}.items():
            archive.writestr(name, data)
    path.write_bytes(buffer.getvalue())
    with pytest.raises(SourceError, match=r"isn't registered here: 'Net'\. .*--import MODULE") as refusal:
        load_source(path)
    assert len(str(refusal.value)) < 300 + len(str(path))  # not the whole configuration


def test_a_model_that_was_never_built_is_refused(tmp_path: Path) -> None:
    with pytest.warns(UserWarning, match="not yet been built"):
        path = saved(keras.Sequential([keras.layers.Dense(2)]), tmp_path)
    with pytest.raises(SourceError, match="was never built"):
        load_source(path)


def test_a_subclassed_model_gets_the_names_of_its_call(tmp_path: Path) -> None:
    original = models.subclassed_model()
    source = load_source(saved(original, tmp_path))
    x = np.random.default_rng(0).normal(size=(3, 5)).astype(np.float32)
    assert [tensor.name for tensor in source.model.inputs] == ["features"]
    np.testing.assert_array_equal(source.model(x), original(x))


def test_half_precision_is_served_in_single(tmp_path: Path) -> None:
    original = models.half_precision_model()
    source = load_source(saved(original, tmp_path))
    kernel, bias, scores, shift = (np.asarray(weight, np.float64) for weight in original.get_weights())
    x = np.random.default_rng(0).normal(size=(3, 5)).astype(np.float32)
    expected = np.maximum(x @ kernel + bias, 0) @ scores + shift
    np.testing.assert_allclose(source.model(x), expected, rtol=0, atol=1e-6)  # float16 would be off by 1e-3
    assert source.notes == ("computed in float16 in training; served in float32",)
