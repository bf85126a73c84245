import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from export.errors import IntegrityError, ManifestError
from export.manifest import check_files, digest, load_manifest, parse_manifest, save_manifest


def changed(bundle: Path, change: dict[str, Any]) -> str:
    content = json.loads((bundle / "manifest.json").read_text())
    return json.dumps({**content, **change})


def test_manifest_survives_saving_and_loading(bundle: Path, tmp_path: Path) -> None:
    manifest = load_manifest(bundle)
    save_manifest(manifest, tmp_path)
    assert load_manifest(tmp_path) == manifest


def test_manifest_lists_every_file_but_itself_with_its_sha256(bundle: Path) -> None:
    listed = load_manifest(bundle).files
    on_disk = {path.relative_to(bundle).as_posix() for path in bundle.rglob("*") if path.is_file()}
    assert set(listed) == on_disk - {"manifest.json"}
    told = subprocess.run(["sha256sum", bundle / "predict.onnx"], capture_output=True, text=True, check=True).stdout
    assert told.split()[0] == listed["predict.onnx"].sha256


def test_importing_the_manifest_imports_nothing_heavy() -> None:
    code = (
        "import sys, export.manifest; print([m for m in ('tensorflow', 'keras', 'numpy', 'onnx') if m in sys.modules])"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


def test_files_that_are_missing_changed_or_extra_are_told_apart(copy: Path) -> None:
    assert check_files(copy).passed
    (copy / "MODEL_CARD.md").unlink()
    (copy / "extra.bin").write_bytes(b"x")
    content = bytearray((copy / "predict.onnx").read_bytes())
    content[len(content) // 2] ^= 1  # one bit, the same size
    (copy / "predict.onnx").write_bytes(content)
    check = check_files(copy)
    assert (check.missing, check.changed, check.extra) == (("MODEL_CARD.md",), ("predict.onnx",), ("extra.bin",))
    with pytest.raises(
        IntegrityError, match=r"missing: MODEL_CARD.md; changed: predict.onnx; not in the manifest: extra"
    ):
        check.raise_if_failed(copy)


def test_digest_of_an_empty_file_is_that_of_no_bytes(tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    entry = digest(tmp_path / "empty")
    assert entry.sha256 == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    assert entry.bytes == 0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"schema_version": 2}, "must have schema_version 1. Received: schema_version=2"),
        ({"schema_version": True}, "'schema_version' must be an integer"),
        ({"name": 3}, "'name' must be a string. Received: name=3"),
        ({"version": "1"}, "'version' must be an integer"),
        (
            {"inputs": [{"name": "x", "dtype": "float32", "shape": [None]}]},
            r"inputs\[0\] must have the key 'onnx_name'",
        ),
        ({"inputs": [{"name": "x", "dtype": "float32", "shape": ["a"], "onnx_name": "x"}]}, "sizes or null"),
        ({"files": {"../x": {"sha256": "0" * 64, "bytes": 1}}}, "must lie inside the bundle"),
        ({"files": {"x": {"sha256": "0", "bytes": 1}}}, "64 lower-case hex digits"),
        ({"files": {}}, "must name one of 'files'"),
        ({"signatures": {}}, r"'signatures' must be \['explain', 'explain_target', 'serving_default'\]"),
        ({"explanation": None}, r"'signatures' must be \['serving_default'\]"),
        ({"vocabulary": "assets/words.txt"}, r"'vocabulary' must name one of 'files'. Received: 'assets/words.txt'"),
        ({"class_labels": [1]}, "a list of strings"),
    ],
)
def test_invalid_manifests_are_refused_by_key(bundle: Path, change: dict[str, Any], message: str) -> None:
    with pytest.raises(ManifestError, match=message):
        parse_manifest(changed(bundle, change))


@pytest.mark.parametrize("key", ["name", "signatures", "files", "parity", "explanation"])
def test_every_key_is_needed(bundle: Path, key: str) -> None:
    content = json.loads((bundle / "manifest.json").read_text())
    del content[key]
    with pytest.raises(ManifestError, match=f"must have the key '{key}'"):
        parse_manifest(json.dumps(content))


@pytest.mark.parametrize("text", ["", "{", "[]", "[" * 100_000, '"x"'])
def test_what_is_no_json_object_is_refused(text: str) -> None:
    with pytest.raises(ManifestError, match="must be"):
        parse_manifest(text)


def test_missing_manifest_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match=r"A bundle has a readable manifest\.json"):
        load_manifest(tmp_path)


def test_metrics_that_are_not_numbers_become_null(bundle: Path) -> None:
    assert load_manifest(bundle).provenance["metrics"]["roc_auc"] is None


def test_layers_must_lead_to_outputs_of_explain(bundle: Path) -> None:
    explanation = json.loads((bundle / "manifest.json").read_text())["explanation"]
    assert parse_manifest(changed(bundle, {"explanation": {**explanation, "layers": {"a": "relevance"}}})).explanation
    with pytest.raises(ManifestError, match=r"'layers' must lead from layers to outputs of 'explain'.*relevance_at_a"):
        parse_manifest(changed(bundle, {"explanation": {**explanation, "layers": {"a": "relevance_at_a"}}}))


def test_manifests_of_older_releases_are_read(bundle: Path) -> None:
    content = json.loads((bundle / "manifest.json").read_text())
    del content["vocabulary"], content["explanation"]["layers"], content["explanation"]["explained"]
    manifest = parse_manifest(json.dumps(content))
    assert manifest.explanation is not None
    assert (manifest.vocabulary, manifest.explanation.layers, manifest.explanation.explained) == ("", {}, "logit")
