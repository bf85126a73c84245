"""One model, start to end, in a process of its own: `python -m whyserve.coverage.check REGISTRY NAME FOLDER`."""

import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from explain.constants import DerivedConstants
from explain.errors import ExplainError
from explain.explainer import build_explainer
from explain.operations import LINEAR_MAPS, PROPAGATE
from explain.trace import trace_model
from export.bundle import export_bundle
from export.errors import ExportError
from export.interface import model_interface
from export.manifest import Manifest, load_manifest
from export.parity import GAP
from serving.engines.registry import create_engine
from whyserve.benchmark.in_process import measure
from whyserve.coverage.images import photo_crops
from whyserve.coverage.results import FAILED, PASSED, Result, save_result
from whyserve.coverage.subjects import subject
from whyserve.coverage.weights import make_generic

SEED = 20260103
CALIBRATION_IMAGES = 32
CHECK_IMAGES = 8
ENGINES = ("onnxruntime", "tensorflow")
# Seconds of measuring predict and explain in turn, for each engine.
MEASURE_S = 2.0
_EXPLANATION = ("relevance", "explained_value", GAP)


class Check:
    """Fills in the result of one model and saves it after each stage.

    Args:
        registry: Where the subject is found, `package.module:attribute`.
        name: Its name there.
        folder: Where results are kept.
    """

    def __init__(self, registry: str, name: str, folder: Path) -> None:
        self.result = Result(name)
        self._registry = registry
        self._folder = folder

    def run(self) -> Result:
        """Runs all stages; a refusal by name ends them and is the reason, anything else is raised."""
        try:
            with tempfile.TemporaryDirectory(prefix="whyserve-coverage-") as temporary:
                self._run(Path(temporary))
            self.result.status = PASSED
        except (ExplainError, ExportError) as error:
            self.result.status, self.result.reason = FAILED, f"{type(error).__name__}: {error}"
        save_result(self._folder, self.result)
        return self.result

    def _run(self, temporary: Path) -> None:
        source, samples = self._make(temporary)
        with self._stage("exporting"):
            bundle = export_bundle(
                source, repository=temporary, name="covered", samples=samples, progress=self._progress
            )
            note_bundle(self.result, load_manifest(bundle))
        # The bundle is all that is needed now; what was written for it would only take memory or space.
        source.unlink()
        keras.backend.clear_session()
        inputs = {name: array[:1] for name, array in np.load(samples).items()}
        for engine in ENGINES:
            with self._stage(f"measuring {engine}"):
                self._measure(bundle, engine, inputs)

    def _make(self, temporary: Path) -> tuple[Path, Path]:
        """Builds the model, with its weights drawn, and writes it and its images to files."""
        source, samples = temporary / "model.keras", temporary / "samples.npz"
        with self._stage("building"):
            keras.utils.set_random_seed(SEED)
            made = subject(self._registry, self.result.model)
            model = made.build()
            size = int(model.inputs[0].shape[1])
            self.result.input_size, self.result.parameters = size, int(model.count_params())
        with self._stage("drawing weights"):
            images = made.preprocess(photo_crops(CALIBRATION_IMAGES + CHECK_IMAGES, size, seed=SEED))
            make_generic(model, images[:CALIBRATION_IMAGES], seed=SEED)
            (name,) = model_interface(model).inputs
            arrays: dict[str, Any] = {name: images[CALIBRATION_IMAGES:]}
            np.savez(samples, **arrays)
            model.save(source)
        with self._stage("tracing"):
            self.result.operations, self.result.refused = traced_operations(model)
            if self.result.refused:
                build_explainer(model)  # says which layer
        return source, samples

    def _measure(self, bundle: Path, engine: str, inputs: dict[str, np.ndarray]) -> None:
        loaded = create_engine(engine).load(bundle)
        try:
            times = measure(loaded, engine, inputs, budget_s=MEASURE_S)
        finally:
            loaded.close()
        self.result.predict_ms[engine] = times.predict_ms.median
        if times.ratio is not None:
            self.result.ratios[engine] = times.ratio.median

    def _progress(self, text: str) -> None:
        self.result.stage = f"exporting: {text}"
        save_result(self._folder, self.result)

    @contextmanager
    def _stage(self, name: str) -> Iterator[None]:
        self.result.stage = name
        save_result(self._folder, self.result)
        yield


def traced_operations(model: keras.Model) -> tuple[dict[str, int], list[str]]:
    """The operations through which the inputs' values pass, by how often they stand, and those without a rule."""
    counts: Counter[str] = Counter()

    def look(**inputs: tf.Tensor) -> dict[str, tf.Tensor]:
        trace = trace_model(model, inputs, DerivedConstants())
        counts.update(op.type for op in trace.operations if any(trace.is_signal(tensor) for tensor in op.outputs))
        return trace.outputs

    tf.function(look, autograph=False).get_concrete_function(**model_interface(model).inputs)
    refused = sorted(kind for kind in counts if kind not in PROPAGATE and kind not in LINEAR_MAPS)
    return dict(counts.most_common()), refused


def note_bundle(result: Result, manifest: Manifest) -> None:
    """Takes down what the checks of a bundle found, from its manifest."""
    parity: dict[str, Any] = manifest.parity
    reference = parity["reference"]
    comparisons = [each for each in parity["comparisons"] if np.isfinite(each["relative"])]

    def worst(outputs: tuple[str, ...], *, with_reference: bool, listed: bool = True) -> float:
        chosen = (
            each["relative"]
            for each in comparisons
            if (each["output"] in outputs) == listed and (each["left"] == reference) == with_reference
        )
        return float(max(chosen, default=0.0))

    result.predictions = worst((*_EXPLANATION, "target"), with_reference=True, listed=False)
    result.formats = worst(("relevance",), with_reference=False)
    result.reference = worst(("relevance",), with_reference=True)
    result.reference_name = reference
    result.rounding = max(each["rounding"] for each in parity["comparisons"])
    result.left_out = max(each["at_a_jump"] for each in parity["comparisons"])
    result.conservation = float((manifest.conservation or {})["residual"])
    result.composite = manifest.explanation.composite if manifest.explanation else None
    result.bundle_mb = sum(entry.bytes for entry in manifest.files.values()) / 1e6


def main(arguments: list[str]) -> int:
    """Checks one model; the exit status is 0 when its result was written, whatever it says."""
    registry, name, folder = arguments
    Check(registry, name, Path(folder)).run()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
