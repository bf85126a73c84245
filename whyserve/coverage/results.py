"""What is known of one model: a JSON file each, written by its process stage by stage: a crash leaves the rest."""

import dataclasses
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

PASSED, FAILED, UNFINISHED = "passed", "failed", "unfinished"


@dataclass
class Result:
    """What was found out about one model.

    Args:
        model: Its name.
        status: `passed`, `failed`; `unfinished` while its process works.
        reason: Why it failed.
        stage: What was being done last.
        input_size: Edge of the images in pixels.
        parameters: Number of weights.
        operations: How often each type of operation stands in the traced forward pass, between inputs and outputs.
        refused: The types among them that have no relevance rule.
        composite: Which rules explain it.
        predictions: Largest difference of predictions, a part of the largest: SavedModel and ONNX against Keras.
        formats: The same of relevance, SavedModel against ONNX.
        reference: The same of relevance, both against `reference_name`.
        rounding: What a tolerance of these comparisons was widened to at most, because rounding moves the explanation
            as far; 0 where none was.
        left_out: Examples, at most, of which one of these comparisons left out elements because rounding decides them.
        conservation: The largest part of the relevance that a step doesn't account for.
        ratios: explain / predict at batch 1 by engine, median of pairs.
        predict_ms: Median at batch 1 by engine.
        seconds: What everything took.
        peak_memory_gb: Of the process, in 10^9 bytes.
        bundle_mb: Of the bundle, in 10^6 bytes.
        finished: When, UTC.
        machine: On what.
        packages: With what.
    """

    model: str
    status: str = UNFINISHED
    reason: str = ""
    stage: str = "starting"
    input_size: int | None = None
    parameters: int | None = None
    operations: dict[str, int] = field(default_factory=dict)
    refused: list[str] = field(default_factory=list)
    composite: str | None = None
    predictions: float | None = None
    formats: float | None = None
    reference: float | None = None
    reference_name: str | None = None
    rounding: float | None = None
    left_out: int | None = None
    conservation: float | None = None
    ratios: dict[str, float] = field(default_factory=dict)
    predict_ms: dict[str, float] = field(default_factory=dict)
    seconds: float | None = None
    peak_memory_gb: float | None = None
    bundle_mb: float | None = None
    finished: str | None = None
    machine: str | None = None
    packages: dict[str, str] = field(default_factory=dict)

    @property
    def passed(self) -> bool:
        """Everything was done and nothing refused."""
        return self.status == PASSED


def result_path(folder: Path, model: str) -> Path:
    """Where the result of a model is kept."""
    return folder / f"{model}.json"


def save_result(folder: Path, result: Result) -> None:
    """Writes a result at once or not at all."""
    path = result_path(folder, result.model)
    written = path.with_suffix(".json.part")
    written.write_text(json.dumps(dataclasses.asdict(result), indent=1) + "\n", encoding="utf-8")
    written.replace(path)


def load_result(folder: Path, model: str) -> Result | None:
    """The result of a model; None where there is none that this version can read."""
    try:
        content: Any = json.loads(result_path(folder, model).read_text(encoding="utf-8"))
        return Result(**content)
    except (FileNotFoundError, ValueError, TypeError):
        return None


def finished_results(folder: Path, models: Sequence[str]) -> dict[str, Result]:
    """The results that were come to, by model; what an interruption left unfinished isn't among them."""
    found = {model: load_result(folder, model) for model in models}
    return {model: result for model, result in found.items() if result is not None and result.status != UNFINISHED}
