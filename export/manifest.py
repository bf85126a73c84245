"""The manifest of a bundle: what it holds, how it was made and checked.

Standard library only: servers import this module.
A bundle's folder holds `manifest.json`, which lists every other file with its digest.

Example:
    >>> manifest = load_manifest(Path("models_repo/digits/1"))   # doctest: +SKIP
    >>> [entry.name for entry in manifest.signatures["explain"].outputs]   # doctest: +SKIP
    ['probabilities', 'relevance', 'target', 'explained_value', 'conservation_gap']
"""

import dataclasses
import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from export.errors import IntegrityError, ManifestError

MANIFEST_FILE = "manifest.json"
# The big constants of the ONNX files, where there are many.
WEIGHTS_FILE = "weights.bin"
SCHEMA_VERSION = 1
PREDICT_SIGNATURE = "serving_default"
EXPLAIN_SIGNATURE = "explain"
EXPLAIN_TARGET_SIGNATURE = "explain_target"

_HASH_CHUNK_BYTES = 1 << 20
_SHA256_HEX_DIGITS = 64


@dataclass(frozen=True)
class TensorEntry:
    """One input or output of a signature.

    Args:
        name: Its name in the signature, the same in every format.
        dtype: NumPy's name of the dtype; `object` for strings.
        shape: None for a dynamic dimension; None in place of the tuple where the rank is unknown.
        onnx_name: Its name inside the ONNX file. It differs from `name` only where ONNX can't have an input and an
            output of one name: the output `target` of `explain_target` is `target_output` there.
    """

    name: str
    dtype: str
    shape: tuple[int | None, ...] | None
    onnx_name: str


@dataclass(frozen=True)
class SignatureEntry:
    """A callable of the bundle, and the ONNX file that answers it."""

    inputs: tuple[TensorEntry, ...]
    outputs: tuple[TensorEntry, ...]
    file: str


@dataclass(frozen=True)
class ExplanationEntry:
    """How the explain signatures are to be read.

    Args:
        output: The output that is explained; its scores before softmax or sigmoid are what relevance adds up to.
        num_targets: Number of scores a target can choose from; None where it depends on the input.
        relevance: An input's name to the output that holds its relevance.
        composite: Name of the composite that assigned the rules.
        reason: Why that composite.
        epsilon: Stabilizer of the rules that have one.
        bias: What becomes of the biases' share: `absorb`, `ignore` or `share`.
        rules: One entry a step: layer, operation, rule, parameters.
        explained: `logit` where the score before a final softmax or sigmoid is explained, `output` where the output
            itself is, as in regression.
        layers: An inner layer's name to the output that holds the relevance of what it returns.
    """

    output: str
    num_targets: int | None
    relevance: dict[str, str]
    composite: str
    reason: str
    epsilon: float
    bias: str
    rules: tuple[dict[str, Any], ...] = ()
    explained: str = "logit"
    layers: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class FileEntry:
    """Digest and size of one file."""

    sha256: str
    bytes: int


@dataclass(frozen=True)
class Manifest:
    """All that is known of a bundle. Paths in `files` are relative to the bundle's folder, with forward slashes.

    `vocabulary` is the one of them that holds the words of the token ids that the model takes; empty if none does.
    """

    name: str
    version: int
    architecture: str
    task: str
    created: str
    inputs: tuple[TensorEntry, ...]
    outputs: tuple[TensorEntry, ...]
    class_labels: tuple[str, ...]
    preprocessing: str
    signatures: dict[str, SignatureEntry]
    explanation: ExplanationEntry | None
    provenance: dict[str, Any]
    parity: dict[str, Any]
    conservation: dict[str, Any] | None
    files: dict[str, FileEntry] = field(default_factory=dict)
    vocabulary: str = ""
    schema_version: int = SCHEMA_VERSION

    def to_json(self) -> str:
        """The text of `manifest.json`; numbers that JSON has no word for (a metric that is NaN) become null."""
        return json.dumps(_finite(dataclasses.asdict(self)), indent=2, ensure_ascii=False, allow_nan=False) + "\n"


@dataclass(frozen=True)
class FileCheck:
    """How the files on disk differ from those of the manifest; three empty tuples when they don't."""

    missing: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()
    extra: tuple[str, ...] = ()

    @property
    def passed(self) -> bool:
        """Whether every file is there, unchanged, and nothing else is."""
        return not (self.missing or self.changed or self.extra)

    def raise_if_failed(self, directory: Path) -> None:
        """Refuse the bundle unless its files are those of its manifest.

        Raises:
            IntegrityError: Names the files that are missing, changed or not in the manifest.
        """
        if self.passed:
            return
        kinds = {"missing": self.missing, "changed": self.changed, "not in the manifest": self.extra}
        found = "; ".join(f"{kind}: {', '.join(names)}" for kind, names in kinds.items() if names)
        raise IntegrityError(
            f"The files of bundle {directory} must be those that its {MANIFEST_FILE} lists, byte for byte. Found "
            f"{found}. "
            "Copy the bundle again from where it was made, or export the model again."
        )


def load_manifest(directory: Path) -> Manifest:
    """Read and validate the manifest of the bundle in `directory`.

    Raises:
        ManifestError: It is missing, isn't JSON, has another schema version, or lacks or mistypes a key.
    """
    path = directory / MANIFEST_FILE
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ManifestError(f"A bundle has a readable {MANIFEST_FILE} in UTF-8. Received: {path}: {error}.") from error
    return parse_manifest(text, str(path))


def parse_manifest(text: str, where: str = MANIFEST_FILE) -> Manifest:
    """A manifest from its JSON text; `where` names it in errors.

    Raises:
        ManifestError: It isn't JSON, has another schema version, or lacks or mistypes a key.
    """
    try:
        content = json.loads(text)
    except ValueError as error:
        raise ManifestError(f"{where} must be JSON. Received: {error}.") from error
    except RecursionError as error:
        raise ManifestError(f"{where} must be JSON nested as a manifest is. Received: thousands of levels.") from error
    reader = _Reader(content, where)
    version = reader.take("schema_version", int)
    if version != SCHEMA_VERSION:
        raise ManifestError(
            f"{where} must have schema_version {SCHEMA_VERSION}. Received: schema_version={version}. "
            "Export the model again, or use the release of Whyserve that wrote it."
        )
    return _manifest(reader)


def save_manifest(manifest: Manifest, directory: Path) -> Path:
    """Write `manifest.json` into the bundle's folder."""
    path = directory / MANIFEST_FILE
    path.write_text(manifest.to_json(), encoding="utf-8")
    return path


def digest(path: Path) -> FileEntry:
    """SHA-256 and size of a file, read in chunks."""
    sha256, size = hashlib.sha256(), 0
    with path.open("rb") as file:
        while chunk := file.read(_HASH_CHUNK_BYTES):
            sha256.update(chunk)
            size += len(chunk)
    return FileEntry(sha256.hexdigest(), size)


def digest_files(directory: Path) -> dict[str, FileEntry]:
    """Digests of every file of a bundle but the manifest itself, by relative path."""
    return {name: digest(directory / name) for name in _files(directory)}


def check_files(directory: Path, manifest: Manifest | None = None) -> FileCheck:
    """Compare every file of a bundle with its manifest, size first and then SHA-256.

    Args:
        directory: The bundle's folder.
        manifest: Its manifest, read from the folder when not given.

    Returns:
        What is missing, changed or extra, sorted.
    """
    expected = (manifest or load_manifest(directory)).files
    found = set(_files(directory))
    changed = [name for name in sorted(found & expected.keys()) if not _same(directory / name, expected[name])]
    return FileCheck(tuple(sorted(expected.keys() - found)), tuple(changed), tuple(sorted(found - expected.keys())))


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _same(path: Path, expected: FileEntry) -> bool:
    return path.stat().st_size == expected.bytes and digest(path) == expected


def _files(directory: Path) -> list[str]:
    paths = (path.relative_to(directory) for path in directory.rglob("*") if not path.is_dir())
    return sorted(path.as_posix() for path in paths if path.as_posix() != MANIFEST_FILE)


class _Reader:
    """Takes typed values out of a JSON object; `where` leads from the file to the object."""

    def __init__(self, content: object, where: str) -> None:
        if not isinstance(content, dict):
            raise ManifestError(f"{where} must be a JSON object. Received: {_name(type(content))}.")
        self.content: dict[str, Any] = content
        self.where = where

    def take(self, key: str, *types: type | None) -> Any:
        """The value of `key`, of one of `types` (None for null)."""
        if key not in self.content:
            raise ManifestError(f"{self.where} must have the key {key!r}. Received: {sorted(self.content)}.")
        value = self.content[key]
        if not any(_is_a(value, kind) for kind in types):
            expected = " or ".join("null" if kind is None else _name(kind) for kind in types)
            raise ManifestError(f"{self.where}: {key!r} must be {expected}. Received: {key}={value!r:.200}.")
        return value

    def items(self, key: str) -> "list[_Reader]":
        """The objects of a list."""
        return [_Reader(item, f"{self.where}: {key}[{i}]") for i, item in enumerate(self.take(key, list))]

    def entries(self, key: str) -> "dict[str, _Reader]":
        """The objects of an object."""
        return {name: _Reader(item, f"{self.where}: {key}[{name!r}]") for name, item in self.take(key, dict).items()}

    def strings(self, key: str) -> tuple[str, ...]:
        """A list of strings."""
        values = self.take(key, list)
        if not all(isinstance(value, str) for value in values):
            raise ManifestError(f"{self.where}: {key!r} must be a list of strings. Received: {key}={values!r:.200}.")
        return tuple(values)


def _is_a(value: object, kind: type | None) -> bool:
    if kind is None:
        return value is None
    if isinstance(value, bool):  # In Python a bool is an int; in JSON it isn't.
        return kind is bool
    return isinstance(value, kind)


def _name(kind: type) -> str:
    return {dict: "an object", list: "a list", str: "a string", int: "an integer", float: "a number"}.get(
        kind, kind.__name__
    )


def _manifest(reader: _Reader) -> Manifest:
    explanation = reader.take("explanation", dict, None)
    manifest = Manifest(
        name=reader.take("name", str),
        version=reader.take("version", int),
        architecture=reader.take("architecture", str),
        task=reader.take("task", str),
        created=reader.take("created", str),
        inputs=_tensors(reader, "inputs"),
        outputs=_tensors(reader, "outputs"),
        class_labels=reader.strings("class_labels"),
        preprocessing=reader.take("preprocessing", str),
        signatures={name: _signature(entry) for name, entry in reader.entries("signatures").items()},
        explanation=None if explanation is None else _explanation(_Reader(explanation, f"{reader.where}: explanation")),
        provenance=reader.take("provenance", dict),
        parity=reader.take("parity", dict),
        conservation=reader.take("conservation", dict, None),
        files={name: _file(name, entry) for name, entry in reader.entries("files").items()},
        vocabulary=reader.take("vocabulary", str) if "vocabulary" in reader.content else "",
    )
    _check_references(manifest, reader.where)
    return manifest


def _tensors(reader: _Reader, key: str) -> tuple[TensorEntry, ...]:
    return tuple(_tensor(item) for item in reader.items(key))


def _tensor(reader: _Reader) -> TensorEntry:
    shape = reader.take("shape", list, None)
    if shape is not None and not all(dim is None or (_is_a(dim, int) and dim >= 0) for dim in shape):
        raise ManifestError(f"{reader.where}: 'shape' must hold sizes or null. Received: shape={shape!r:.200}.")
    return TensorEntry(
        name=reader.take("name", str),
        dtype=reader.take("dtype", str),
        shape=None if shape is None else tuple(shape),
        onnx_name=reader.take("onnx_name", str),
    )


def _signature(reader: _Reader) -> SignatureEntry:
    return SignatureEntry(_tensors(reader, "inputs"), _tensors(reader, "outputs"), reader.take("file", str))


def _explanation(reader: _Reader) -> ExplanationEntry:
    return ExplanationEntry(
        output=reader.take("output", str),
        num_targets=reader.take("num_targets", int, None),
        relevance=dict(reader.take("relevance", dict)),
        composite=reader.take("composite", str),
        reason=reader.take("reason", str),
        epsilon=float(reader.take("epsilon", float, int)),
        bias=reader.take("bias", str),
        rules=tuple(item.content for item in reader.items("rules")),
        # Manifests of older releases don't have the next two.
        explained=reader.take("explained", str) if "explained" in reader.content else "logit",
        layers=dict(reader.take("layers", dict)) if "layers" in reader.content else {},
    )


def _file(name: str, reader: _Reader) -> FileEntry:
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or "\\" in name or not path.parts:
        raise ManifestError(f"{reader.where}: a file's path must lie inside the bundle. Received: {name!r}.")
    sha256 = reader.take("sha256", str)
    if len(sha256) != _SHA256_HEX_DIGITS or not set(sha256) <= set("0123456789abcdef"):
        raise ManifestError(f"{reader.where}: 'sha256' must be 64 lower-case hex digits. Received: {sha256!r:.100}.")
    return FileEntry(sha256, reader.take("bytes", int))


def _check_references(manifest: Manifest, where: str) -> None:
    required = {PREDICT_SIGNATURE}
    if manifest.explanation is not None:
        required |= {EXPLAIN_SIGNATURE, EXPLAIN_TARGET_SIGNATURE}
    if manifest.signatures.keys() != required:
        raise ManifestError(
            f"{where}: 'signatures' must be {sorted(required)} ('explanation' is "
            f"{'null' if manifest.explanation is None else 'given'}). Received: {sorted(manifest.signatures)}."
        )
    for name, signature in manifest.signatures.items():
        if signature.file not in manifest.files:
            raise ManifestError(f"{where}: signature {name!r} must name one of 'files'. Received: {signature.file!r}.")
        _check_unique(signature.inputs, f"{where}: inputs of signature {name!r}")
        _check_unique(signature.outputs, f"{where}: outputs of signature {name!r}")
    if manifest.vocabulary and manifest.vocabulary not in manifest.files:
        raise ManifestError(f"{where}: 'vocabulary' must name one of 'files'. Received: {manifest.vocabulary!r}.")
    if manifest.explanation is not None:
        _check_explanation(manifest, manifest.explanation, where)


def _check_unique(tensors: tuple[TensorEntry, ...], where: str) -> None:
    names = [tensor.name for tensor in tensors]
    if len(set(names)) != len(names):
        raise ManifestError(f"{where} must have names of their own. Received: {names}.")


def _check_explanation(manifest: Manifest, explanation: ExplanationEntry, where: str) -> None:
    inputs = {tensor.name for tensor in manifest.inputs}
    outputs = {tensor.name for tensor in manifest.signatures[EXPLAIN_SIGNATURE].outputs}
    relevance: Mapping[str, object] = explanation.relevance
    if not relevance.keys() <= inputs or not set(relevance.values()) <= outputs:
        raise ManifestError(
            f"{where}: 'relevance' must lead from the inputs {sorted(inputs)} to outputs of 'explain'. "
            f"Received: {dict(relevance)!r:.300}."
        )
    layers: Mapping[str, object] = explanation.layers
    if not set(layers.values()) <= outputs:
        raise ManifestError(
            f"{where}: 'layers' must lead from layers to outputs of 'explain'. Received: {dict(layers)!r:.300}."
        )
