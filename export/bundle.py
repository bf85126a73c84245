"""Makes bundles; nothing is published that disagrees with the Keras model it was made from."""

import contextlib
import datetime as dt
import gc
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from explain import ExplainError, build_explainer
from export import publication
from export.agreement import check_signatures
from export.conservation import check_conservation, saved_audit
from export.entries import EXPLAIN_FILE, PREDICT_FILE, check_labels, explanation_entry, signature_entry
from export.errors import ExplanationError
from export.interface import Interface, model_interface
from export.manifest import (
    EXPLAIN_SIGNATURE,
    EXPLAIN_TARGET_SIGNATURE,
    PREDICT_SIGNATURE,
    WEIGHTS_FILE,
    Manifest,
    digest_files,
    save_manifest,
)
from export.model_card import write_model_card
from export.onnx import write_onnx
from export.onnx_external import WeightsFile
from export.parity import compare, make_cases
from export.provenance import provenance
from export.reference import keras_reference
from export.runners import OnnxRunner, RecordedRunner, Runner, SessionRunner, full_precision
from export.samples import Samples, generated_samples, read_samples
from export.saved_model import Signature, trace_signatures, write_saved_model
from export.sources import Source, load_source
from export.verification import Progress, VerifyReport, silent, verify_bundle
from export.vocabulary import VOCABULARY_FILE, Vocabulary, check_vocabulary, read_vocabulary, write_vocabulary
from export.warmup import Record, write_warmup

__all__ = ["VerifyReport", "export_bundle", "verify_bundle"]


def export_bundle(
    source: Path,
    *,
    repository: Path,
    name: str,
    version: int | None = None,
    explain: bool = True,
    composite: Any | None = None,
    epsilon: float | None = None,
    bias: str | None = None,
    gamma: float | None = None,
    low: float | None = None,
    high: float | None = None,
    output: str | None = None,
    layers: Sequence[str] = (),
    samples: Path | None = None,
    vocabulary: Path | None = None,
    progress: Progress = silent,
) -> Path:
    """Export a model as a checked bundle, `<repository>/<name>/<version>/`.

    Args:
        source: A run folder, or any `.keras` file.
        repository: The folder of all models; made if it isn't there.
        name: The model's name.
        version: Its version; the next free one by default.
        explain: Whether to export the explain signatures.
        composite: Which rules explain it, a name or a `Composite`; chosen by the model's operations by default.
        epsilon: Stabilizer of the rules of a named composite, 1e-6 unless given.
        bias: What becomes of the biases' share: `absorb` (unless given), `ignore` or `share`.
        gamma: Of the rule `gamma`, 0.25 unless given.
        low: Smallest value of the model's raw input, for composites with the rule `z_box`; a run folder knows it.
        high: Largest value of it.
        output: Which output is explained, where there are several.
        layers: Names of layers whose outputs' relevance the explain signatures return as well.
        samples: An `.npz` file with one array of examples for each input, to check and warm up with; by default the
            run folder's, or generated ones.
        vocabulary: A file with the words of the model's token ids, a line each; the bundle keeps a copy.
        progress: Called with one line a step.

    Returns:
        The published folder.

    Raises:
        ExportError: A subclass for each kind of refusal, see `export.errors`; nothing was published.
    """
    publication.check_name(name)
    if version is not None:
        publication.check_free(repository / name, version)
    options = {"composite": composite, "epsilon": epsilon, "bias": bias, "output": output}
    options.update({"gamma": gamma, "low": low, "high": high, "layers": tuple(layers)})
    words = None if vocabulary is None else read_vocabulary(vocabulary)
    with full_precision():
        progress(f"loading {source}")
        model = _load(source, samples, options if explain else None, progress)
        if words is not None:
            check_vocabulary(words, model.interface, model.source.model)
        with publication.staging(repository, name) as folder:
            maker = _Maker(folder, name, model, progress, words)
            manifest = maker.make()
            published = publication.publish(folder, version, lambda number: maker.finish(manifest, number))
    progress(f"published {published}")
    return published


@dataclass(frozen=True)
class _Model:
    """A loaded model with what a bundle is made of; `options` are those of its explainer."""

    source: Source
    interface: Interface
    explainer: Any | None
    samples: Samples
    options: dict[str, Any]


def _load(path: Path, samples: Path | None, options: dict[str, Any] | None, progress: Progress) -> _Model:
    source = load_source(path)
    interface = model_interface(source.model)
    progress(f"inputs {', '.join(interface.inputs)}; outputs {', '.join(interface.outputs)}")
    given = samples or source.samples
    origin = (source.model, interface.inputs)
    chosen = read_samples(given, *origin) if given else generated_samples(*origin)
    explainer = None
    if options is not None:
        options = {**options, "input_range": source.input_range}
        progress("deriving the relevance pass")
        with _refusals():  # of the model as a whole; of an operation when the signatures are traced
            explainer = build_explainer(source.model, **options, try_out=False)
    return _Model(source, interface, explainer, chosen, options or {})


@contextlib.contextmanager
def _refusals() -> Iterator[None]:
    """What can't be explained may be exported without explanations."""
    try:
        yield
    except ExplainError as error:
        text = str(error)
        way_out = "" if "--no-explain" in text else " Or export without explanations (`--no-explain`)."
        raise ExplanationError(f"{text}{way_out}") from error


@dataclass(frozen=True)
class _Maker:
    """Writes and checks the files of one bundle in its staging folder."""

    folder: Path
    name: str
    model: _Model
    progress: Callable[[str], None]
    vocabulary: Vocabulary | None = None

    def make(self) -> Manifest:
        """All files but those that hold the version; returns the manifest to finish."""
        with _refusals():
            signatures = trace_signatures(self.model.interface, self.model.explainer)
        self._write(signatures)
        return self._check(self._manifest(signatures))

    def finish(self, manifest: Manifest, version: int) -> None:
        """Write what holds the version: the card, then the manifest with the digests of everything else."""
        self.progress(f"writing the manifest of version {version}")
        numbered = replace(manifest, version=version)
        write_model_card(self.folder, numbered)
        save_manifest(replace(numbered, files=digest_files(self.folder)), self.folder)

    def _write(self, signatures: dict[str, Signature]) -> None:
        explainer = self.model.explainer
        with WeightsFile(self.folder / WEIGHTS_FILE) as weights:
            self.progress(f"writing {PREDICT_FILE}")
            write_onnx(self.folder / PREDICT_FILE, signatures[PREDICT_SIGNATURE], self.name, weights)
            if explainer is not None:
                self.progress(f"writing {EXPLAIN_FILE}, composite {explainer.composite} ({explainer.composite_reason})")
                write_onnx(self.folder / EXPLAIN_FILE, signatures[EXPLAIN_TARGET_SIGNATURE], self.name, weights)
        self.progress("writing the SavedModel")
        write_saved_model(self.folder, self.model.source.model, signatures, explainer)
        if self.vocabulary is not None:
            write_vocabulary(self.folder, self.vocabulary)

    def _manifest(self, signatures: dict[str, Signature]) -> Manifest:
        source, explainer = self.model.source, self.model.explainer
        run = source.run or {}
        entries = {key: signature_entry(key, signature) for key, signature in signatures.items()}
        predict = entries[PREDICT_SIGNATURE]
        explanation = None
        if explainer is not None:
            explanation = explanation_entry(explainer, entries[EXPLAIN_SIGNATURE].outputs)
        return Manifest(
            name=self.name,
            version=0,
            architecture=str(run.get("architecture", type(source.model).__name__)),
            task=str(run.get("task", "unknown")),
            created=dt.datetime.now(dt.UTC).isoformat(timespec="seconds"),
            inputs=predict.inputs,
            outputs=predict.outputs,
            class_labels=check_labels(
                source.class_labels, predict.outputs, explainer.num_targets if explainer else None
            ),
            preprocessing=source.preprocessing,
            signatures=entries,
            explanation=explanation,
            provenance=provenance(source),
            parity={},
            conservation=None,
            vocabulary="" if self.vocabulary is None else VOCABULARY_FILE,
        )

    def _check(self, manifest: Manifest) -> Manifest:
        """The manifest with the reports of the checks; writes the warm-up file, whose answers are the reference's."""
        source, interface, explainer, samples = (
            self.model.source, self.model.interface, self.model.explainer, self.model.samples,
        )  # fmt: skip
        cases = make_cases(samples, None if explainer is None else explainer.num_targets or 1)
        self.progress(f"the reference of the checks: Keras on {samples.origin} inputs, {len(cases)} calls")
        computed = keras_reference(source, interface, explainer, self.model.options, samples)
        reference = RecordedRunner.of(computed, [(case.signature, case.inputs) for case in cases])
        del computed
        gc.collect()  # the model in double precision, which refers to itself
        self.progress(f"parity of Keras, SavedModel and ONNX on {samples.origin} inputs, {len(cases)} calls")
        onnx = OnnxRunner(self.folder, manifest.signatures)
        with SessionRunner(self.folder) as session:
            check_signatures(manifest, session, onnx)
            parity = compare(cases, reference, [session, onnx], samples=samples.origin, probe=session)
        conservation = None
        if explainer is not None:
            self.progress("conservation, layer by layer")
            audit = saved_audit(self.folder, list(interface.inputs))
            conservation = check_conservation(audit, [batch.inputs for batch in samples.batches]).to_dict()
        self.progress("writing the warm-up requests")
        write_warmup(self.folder, self.name, _records(samples, reference, manifest))
        return replace(manifest, parity=parity.to_dict(), conservation=conservation)


def _records(samples: Samples, reference: Runner, manifest: Manifest) -> list[Record]:
    """Requests of one example and of several, for the signatures that take the model's own inputs."""
    records = []
    for signature in (PREDICT_SIGNATURE, EXPLAIN_SIGNATURE):
        if signature not in manifest.signatures:
            continue
        dtypes = {tensor.name: np.dtype(tensor.dtype) for tensor in manifest.signatures[signature].outputs}
        for part in (part for batch in samples.batches for part in batch.parts):
            outputs = reference.run(signature, part.inputs)
            answers = {name: values.astype(dtypes[name]) for name, values in outputs.items()}
            records.append(Record(signature, part.inputs, answers))
    return records
