"""What the engines read from a bundle: its manifest as signatures, once every file was found to be the one it lists."""

from pathlib import Path

import numpy as np

from export.errors import IntegrityError, ManifestError
from export.manifest import (
    MANIFEST_FILE,
    Manifest,
    SignatureEntry,
    TensorEntry,
    check_files,
    load_manifest,
)
from serving.errors import Code, ServingError
from serving.types import Explanation, Signature, TensorInfo


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
        check_files(path, manifest).raise_if_failed(path)
    except ManifestError as error:
        raise ServingError(Code.FAILED_PRECONDITION, str(error)) from error
    except IntegrityError as error:
        raise ServingError(Code.DATA_LOSS, str(error)) from error
    except OSError as error:
        raise ServingError(Code.UNAVAILABLE, f"The files of {path} must be readable. Received: {error}.") from error
    return manifest


def read_signatures(manifest: Manifest) -> dict[str, Signature]:
    """The signatures of a bundle, with the names inside its ONNX files as `tensor_name`."""
    return {name: _signature(entry) for name, entry in manifest.signatures.items()}


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
    )


def _signature(entry: SignatureEntry) -> Signature:
    return Signature(
        inputs={tensor.name: _tensor(tensor) for tensor in entry.inputs},
        outputs={tensor.name: _tensor(tensor) for tensor in entry.outputs},
    )


def _tensor(entry: TensorEntry) -> TensorInfo:
    try:
        dtype = np.dtype(entry.dtype)
    except TypeError as error:
        message = f"Tensor {entry.name!r} of a manifest must have one of NumPy's dtypes. Received: {entry.dtype!r}."
        raise ServingError(Code.FAILED_PRECONDITION, message) from error
    return TensorInfo(entry.name, dtype, entry.shape, entry.onnx_name)
