"""What the engines read from a bundle: its manifest as signatures, once every file was found to be the one it lists."""

import logging
from collections.abc import Collection
from pathlib import Path

import numpy as np

from export.errors import IntegrityError, ManifestError
from export.manifest import (
    MANIFEST_FILE,
    FileCheck,
    Manifest,
    SignatureEntry,
    TensorEntry,
    check_files,
    load_manifest,
)
from serving.errors import Code, ServingError
from serving.types import ExampleReading, Explanation, Signature, TensorInfo

logger = logging.getLogger(__name__)

SAVED_MODEL_FILE = "saved_model.pb"
"""What a SavedModel is known by."""
WARMUP_FILE = "assets.extra/tf_serving_warmup_requests"
"""What a version is to run before it is served, as in TensorFlow Serving; see `serving.warmup`."""
BATCHING_FILE = "batching_params.pbtxt"
"""How a version is batched where `--enable_per_model_batching_parameters` is given; whoever runs the server adds it."""


def is_bundle(path: Path) -> bool:
    """Whether a version folder holds a manifest."""
    return (path / MANIFEST_FILE).is_file()


def open_bundle(path: Path) -> Manifest:
    """Reads the manifest of a bundle and compares every file with it.

    Raises:
        ServingError: DATA_LOSS where a file is not the one the manifest lists, FAILED_PRECONDITION where the manifest
            is none.
    """
    try:
        manifest = load_manifest(path)
        _without_warmup(check_files(path, manifest), path).raise_if_failed(path)
    except ManifestError as error:
        raise ServingError(Code.FAILED_PRECONDITION, str(error)) from error
    except IntegrityError as error:
        raise ServingError(Code.DATA_LOSS, str(error)) from error
    except OSError as error:
        raise ServingError(Code.UNAVAILABLE, f"The files of {path} must be readable. Received: {error}.") from error
    return manifest


def _without_warmup(check: FileCheck, path: Path) -> FileCheck:
    """Lets the warm-up file be another than the exported one, or none: it decides nothing about the answers.

    Nor do the batching parameters.
    """
    if WARMUP_FILE in (*check.missing, *check.changed, *check.extra):
        logger.info("The warm-up records of %s are not those that it was exported with", path)
    return FileCheck(
        *(
            tuple(name for name in names if name not in (WARMUP_FILE, BATCHING_FILE))
            for names in (check.missing, check.changed, check.extra)
        )
    )


def read_signatures(manifest: Manifest) -> dict[str, Signature]:
    """The signatures of a bundle, with the names inside its ONNX files as `tensor_name`."""
    return {
        name: _signature(entry, read_example_reading(manifest, [tensor.name for tensor in entry.outputs]))
        for name, entry in manifest.signatures.items()
    }


def read_example_reading(manifest: Manifest, output_names: Collection[str]) -> ExampleReading:
    """How Classify and Regress use a signature with these outputs.

    What they answer with is the explained output, or the only one; of several in a bundle without explanations none.
    """
    explained = None if manifest.explanation is None else manifest.explanation.output
    chosen = explained if explained in output_names else next(iter(output_names)) if len(output_names) == 1 else None
    return ExampleReading(chosen or "", tuple(manifest.class_labels))


def read_explanation(manifest: Manifest) -> Explanation | None:
    """How the bundle's explain signatures are to be read, or None where it was exported without."""
    entry = manifest.explanation
    if entry is None:
        return None
    return Explanation(
        output_name=entry.output,
        relevance=dict(entry.relevance),
        class_labels=manifest.class_labels,
        composite=entry.composite,
        num_targets=entry.num_targets,
        layers=dict(entry.layers),
    )


def _signature(entry: SignatureEntry, example_reading: ExampleReading) -> Signature:
    return Signature(
        inputs={tensor.name: _tensor(tensor) for tensor in entry.inputs},
        outputs={tensor.name: _tensor(tensor) for tensor in entry.outputs},
        example_reading=example_reading,
    )


def _tensor(entry: TensorEntry) -> TensorInfo:
    try:
        dtype = np.dtype(entry.dtype)
    except TypeError as error:
        message = f"Tensor {entry.name!r} of a manifest must have one of NumPy's dtypes. Received: {entry.dtype!r}."
        raise ServingError(Code.FAILED_PRECONDITION, message) from error
    return TensorInfo(entry.name, dtype, entry.shape, entry.onnx_name)
