"""Resident memory of a server that predicts and explains, against one that only predicts."""

import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from export.manifest import WEIGHTS_FILE, load_manifest, save_manifest
from serving.types import DEFAULT_SIGNATURE, EXPLAIN_SIGNATURE
from whyserve.benchmark.generator import generate, grpc_plan, make_plan
from whyserve.benchmark.machine import resident_mb
from whyserve.benchmark.served import FLAGS
from whyserve.process import ServerProcess

# Its files of a bundle can be parted.
ENGINE = "onnxruntime"
# Long enough for every buffer to be there.
_LOAD_S = 1.0


@dataclass(frozen=True)
class Memory:
    """Resident memory in MB after the same load of predictions, and of as many explanations where they are served.

    `ratio` is both over predictions alone, the servers themselves included.
    """

    engine: str
    batch: int
    predict_mb: float
    both_mb: float
    ratio: float


def measure_memory(bundle: Path, inputs: Mapping[str, np.ndarray], *, log: Path) -> Memory | None:
    """Starts two servers one after the other, and asks each.

    Args:
        bundle: A version's folder.
        inputs: The batch that every request carries.
        log: Where the servers' output goes.

    Returns:
        What each held; None where the bundle has no explanations.
    """
    if EXPLAIN_SIGNATURE not in load_manifest(bundle).signatures:
        return None
    predict_mb = _held(bundle, inputs, log, explains=False)
    both_mb = _held(bundle, inputs, log, explains=True)
    return Memory(ENGINE, len(next(iter(inputs.values()))), predict_mb, both_mb, both_mb / predict_mb)


def _held(bundle: Path, inputs: Mapping[str, np.ndarray], log: Path, *, explains: bool) -> float:
    with (
        _reduced(bundle, explains=explains) as model,
        ServerProcess(model, model.name, log=log, engine=ENGINE, flags=FLAGS) as server,
    ):
        server.wait_until_available()
        for signature in [DEFAULT_SIGNATURE, EXPLAIN_SIGNATURE][: 1 + explains]:
            generate(make_plan(grpc_plan(server, signature, inputs), connections=1, seconds=_LOAD_S))
        now, _ = resident_mb(server.pid)
    return now


@contextmanager
def _reduced(bundle: Path, *, explains: bool) -> Iterator[Path]:
    """A model's folder with what ONNX Runtime needs of a bundle; no warm-up, whose batches may be larger."""
    manifest = load_manifest(bundle)
    kept = {name: each for name, each in manifest.signatures.items() if explains or name == DEFAULT_SIGNATURE}
    needed = {*(signature.file for signature in kept.values()), WEIGHTS_FILE}
    files = {name: entry for name, entry in manifest.files.items() if name in needed}
    with tempfile.TemporaryDirectory(prefix="whyserve-benchmark-") as folder:
        version = Path(folder) / manifest.name / str(manifest.version)
        version.mkdir(parents=True)
        for name in files:
            shutil.copyfile(bundle / name, version / name)
        explanation = manifest.explanation if explains else None
        save_manifest(replace(manifest, signatures=kept, explanation=explanation, files=files, vocabulary=""), version)
        yield version.parent
