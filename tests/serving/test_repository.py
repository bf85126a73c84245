from pathlib import Path

import pytest

from serving.engines.onnxruntime import OnnxRuntimeEngine
from serving.repository import find_versions, inspect_version, list_models, parse_version
from tests.serving.bundles import write_bundle


@pytest.mark.parametrize(
    ("name", "version"),
    [
        ("1", 1),
        ("00000123", 123),
        ("0", 0),
        (str(2**63 - 1), 2**63 - 1),
        (str(2**63), None),
        ("-1", None),
        ("1.0", None),
        ("v1", None),
        ("1 ", None),
        ("", None),
        ("١", None),
        ("1_0", None),
    ],
)
def test_a_version_is_a_whole_number_of_64_bits(name, version):
    assert parse_version(name) == version


def test_folders_whose_name_is_no_version_and_files_are_left_out(tmp_path):
    for name in ("1", "00000002", "2", "latest", ".3.tmp"):
        (tmp_path / name).mkdir()
    (tmp_path / "4").write_text("a file")
    assert find_versions(tmp_path) == {1: tmp_path / "1", 2: tmp_path / "00000002"}


def test_a_missing_base_path_is_not_an_empty_one(tmp_path):
    assert find_versions(tmp_path / "missing") is None
    assert find_versions(tmp_path) == {}
    assert list_models(tmp_path / "missing") is None


def test_models_are_the_folders_with_version_folders(tmp_path):
    for path in ("a/1", "b/notes", ".hidden/1"):
        (tmp_path / path).mkdir(parents=True)
    assert list_models(tmp_path) == {"a": tmp_path / "a"}


def test_a_whole_bundle_is_complete(tmp_path):
    path = write_bundle(tmp_path, 1)
    found = inspect_version(1, path, OnnxRuntimeEngine())
    assert found.incomplete == ""
    assert found.verifiable


def test_a_bundle_is_incomplete_while_a_file_is_missing_or_too_short(tmp_path):
    path = write_bundle(tmp_path, 1)
    engine = OnnxRuntimeEngine()
    content = (path / "explain.onnx").read_bytes()
    (path / "explain.onnx").write_bytes(content[:-1])
    assert "not complete: explain.onnx missing or too short" in inspect_version(1, path, engine).incomplete
    (path / "explain.onnx").unlink()
    assert "not complete: explain.onnx missing or too short" in inspect_version(1, path, engine).incomplete


def test_a_folder_without_a_manifest_is_nothing_for_onnx_runtime(tmp_path):
    path = tmp_path / "1"
    path.mkdir()
    nothing = f"{path} holds nothing that the onnxruntime engine can load"
    assert inspect_version(1, path, OnnxRuntimeEngine()).incomplete == f"{nothing}."
    (path / "saved_model.pb").write_bytes(b"")
    advice = "it is a SavedModel. Serve it with --engine=tensorflow, or export the Keras model as a bundle."
    assert inspect_version(1, path, OnnxRuntimeEngine()).incomplete == f"{nothing}: {advice}"


def test_the_fingerprint_changes_with_the_files(tmp_path: Path):
    path = write_bundle(tmp_path, 1)
    engine = OnnxRuntimeEngine()
    before = inspect_version(1, path, engine).fingerprint
    assert inspect_version(1, path, engine).fingerprint == before
    (path / "MODEL_CARD.md").write_text("new")
    assert inspect_version(1, path, engine).fingerprint != before
