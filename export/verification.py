"""`verify`: a bundle checked again, from its own files alone."""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from export.agreement import check_signatures
from export.conservation import ConservationReport, check_conservation, check_recorded, saved_audit
from export.manifest import PREDICT_SIGNATURE, Manifest, check_files, load_manifest
from export.parity import FORMAT_TOLERANCE, Case, ParityReport, compare, make_cases
from export.runners import OnnxRunner, RecordedRunner, SessionRunner, full_precision
from export.samples import Batch, Samples
from export.warmup import Record, read_warmup

Progress = Callable[[str], None]


@dataclass(frozen=True)
class VerifyReport:
    """What `verify_bundle` recomputed, all of it within tolerance; ready for JSON by `dataclasses.asdict`."""

    path: str
    name: str
    version: int
    files: int
    bytes: int
    parity: ParityReport
    conservation: ConservationReport | None


def silent(_: str) -> None:
    """Progress for those who don't watch."""


def verify_bundle(path: Path, progress: Progress = silent) -> VerifyReport:
    """Check a bundle: digests, names, parity of its formats, conservation layer by layer.

    The formats are held against the answers of the Keras model that the bundle's warm-up file recorded, and against one
    another for further targets.

    Args:
        path: The bundle's folder, `<repository>/<name>/<version>`.
        progress: Called with one line a step.

    Raises:
        ManifestError: There is no manifest, or not a valid one.
        IntegrityError: A file is missing, changed or extra, or the formats' signatures aren't the manifest's.
        ConversionError: A format doesn't load or run.
        ParityError, ConservationError: A format computes something else than it should.
    """
    manifest = load_manifest(path)
    progress(f"digests of {len(manifest.files)} files")
    check_files(path, manifest).raise_if_failed(path)
    records = read_warmup(path)
    batches = _batches(records)
    with full_precision():
        parity = _parity(path, manifest, records, batches, progress)
        conservation = None
        if manifest.explanation is not None:
            progress("conservation, layer by layer")
            audit = saved_audit(path, [tensor.name for tensor in manifest.inputs])
            conservation = check_conservation(audit, [batch.inputs for batch in batches])
            check_recorded(conservation, manifest.conservation or {})
    size = sum(entry.bytes for entry in manifest.files.values())
    progress("verified")
    return VerifyReport(str(path), manifest.name, manifest.version, len(manifest.files), size, parity, conservation)


def _parity(
    path: Path, manifest: Manifest, records: Sequence[Record], batches: Sequence[Batch], progress: Progress
) -> ParityReport:
    cases = [Case(record.signature, record.inputs, _kind(record)) for record in records]
    recorded = RecordedRunner("recorded Keras", [(r.signature, r.inputs, r.outputs) for r in records])
    targets = None if manifest.explanation is None else manifest.explanation.num_targets or 1
    further = make_cases(Samples("recorded", tuple(batches)), targets)
    onnx = OnnxRunner(path, manifest.signatures)
    with SessionRunner(path) as session:
        check_signatures(manifest, session, onnx)
        progress(f"parity of SavedModel and ONNX with {len(cases)} recorded answers of Keras")
        with_keras = compare(cases, recorded, [session, onnx], samples="recorded", probe=session)
        progress(f"parity of SavedModel and ONNX on {len(further)} further calls")
        formats = compare(
            further, session, [onnx], samples="recorded", explanation_tolerance=FORMAT_TOLERANCE, probe=session
        )
    return replace(
        with_keras, cases=with_keras.cases + formats.cases, comparisons=with_keras.comparisons + formats.comparisons
    )


def _batches(records: Sequence[Record]) -> list[Batch]:
    """The recorded inputs, once each: of one example and of several that start with it, the several."""
    batches: dict[str, Batch] = {}
    for record in records:
        if record.signature == PREDICT_SIGNATURE:
            batch = Batch(_kind(record), record.inputs)
            if batch.rows > 1 or batch.kind not in batches:
                batches[batch.kind] = batch
    return list(batches.values())


def _kind(record: Record) -> str:
    """Records whose first example is the same hold the same kind of values."""
    first = [record.inputs[name][:1].tolist() for name in sorted(record.inputs)]
    return f"recorded {hashlib.sha256(repr(first).encode()).hexdigest()[:6]}"
