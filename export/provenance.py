"""What a bundle remembers of where it comes from."""

import importlib.metadata
import platform
from typing import Any

from export.manifest import digest
from export.sources import Source

_PACKAGES = ("whyserve", "tensorflow", "keras", "tf2onnx", "onnx", "onnxruntime-gpu", "onnxruntime", "numpy")
# Keys of a run folder's run.json that are the training's own; the rest of it is kept as it is.
_ELSEWHERE = frozenset({"schema_version", "architecture", "task", "class_labels", "packages"})


def provenance(source: Source) -> dict[str, Any]:
    """The source file and its digest, the packages, and what the run folder tells of data, seed and metrics."""
    entry = digest(source.path)
    run = source.run or {}
    return {
        "source": {"file": source.path.name, "sha256": entry.sha256, "bytes": entry.bytes},
        "packages": _installed(),
        "training_packages": run.get("packages", {}),
        **{key: value for key, value in run.items() if key not in _ELSEWHERE},
        "metrics": source.metrics,
        "notes": list(source.notes),
    }


def _installed() -> dict[str, str]:
    found = {"python": platform.python_version()}
    for package in _PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found
