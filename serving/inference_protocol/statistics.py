"""What Triton's statistics extension tells of a model's versions, read from the metrics."""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from serving.errors import Code
from serving.types import State

if TYPE_CHECKING:
    from serving.data_plane import DataPlane
    from serving.metrics import Metrics

# The calls that infer, in every protocol; their names in REST are the same in lower case.
_INFERENCE = frozenset({"predict", "explain", "classify", "regress", "multiinference", "infer", "modelinfer"})

NANOSECONDS = 1e9
MILLISECONDS = 1e3

_Samples = Mapping[tuple[str, str, str], float]


@dataclass(frozen=True)
class Duration:
    """How often something happened, and how long it took in all."""

    count: int = 0
    ns: int = 0


@dataclass(frozen=True)
class VersionStatistics:
    """What was counted of one version since the server started.

    Attributes:
        name: The model.
        version: The version.
        last_inference_ms: When the last batch ended, in milliseconds since 1970; 0 where there was none.
        inference_count: Rows that were inferred.
        execution_count: Batches that were run.
        durations: By Triton's names. Reading the inputs and writing the outputs are not timed of themselves.
    """

    name: str
    version: str
    last_inference_ms: int = 0
    inference_count: int = 0
    execution_count: int = 0
    durations: Mapping[str, Duration] = field(default_factory=dict)


def statistics(
    data_plane: "DataPlane", metrics: "Metrics", *, name: str = "", version: int | None = None
) -> list[VersionStatistics]:
    """The statistics of the versions that answer requests.

    Args:
        data_plane: What knows them.
        metrics: What has counted.
        name: One model; empty: all.
        version: One version of it.

    Raises:
        ServingError: NOT_FOUND; there is no such model or version.
    """
    models = [data_plane.status(name, version)] if name else data_plane.models()
    samples = _read(metrics)
    return [
        _of_version(samples, model.name, str(each.version), metrics.last_run(model.name, each.version))
        for model in models
        for each in model.versions
        if each.state == State.AVAILABLE
    ]


def _of_version(samples: _Samples, model: str, version: str, last_run_s: float) -> VersionStatistics:
    def value(name: str) -> float:
        return samples.get((name, model, version), 0.0)

    def duration(name: str) -> Duration:
        return Duration(round(value(f"{name}_count")), round(value(f"{name}_sum") * NANOSECONDS))

    batches = duration("whyserve_run_seconds")
    return VersionStatistics(
        model,
        version,
        last_inference_ms=round(last_run_s * MILLISECONDS),
        inference_count=round(value("whyserve_batch_rows_sum")),
        execution_count=batches.count,
        durations={
            "success": duration("whyserve_request_seconds"),
            "fail": Duration(round(value("whyserve_requests_total"))),
            "queue": duration("whyserve_queue_seconds"),
            "compute_input": Duration(batches.count),
            "compute_infer": batches,
            "compute_output": Duration(batches.count),
        },
    )


def _read(metrics: "Metrics") -> _Samples:
    """Sums over signatures and protocols by sample, model and version; of the requests counted, those that failed."""
    sums: dict[tuple[str, str, str], float] = defaultdict(float)
    for family in metrics.registry.collect():
        for sample in family.samples:
            labels = sample.labels
            if "model" not in labels or "version" not in labels:
                continue
            if "api" in labels and labels["api"].lower() not in _INFERENCE:
                continue
            if labels.get("code") != Code.OK.name:
                sums[sample.name, labels["model"], labels["version"]] += sample.value
    return sums
