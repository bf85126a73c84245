"""What Prometheus reads: our own metrics, and TensorFlow Serving's names for those that it has too."""

import time
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    disable_created_metrics,
    generate_latest,
)

from serving.errors import Code
from serving.tensorflow_metrics import TensorFlowMetrics

METRICS_PATH = "/monitoring/prometheus/metrics"
CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

# TensorFlow Serving's own boundaries, 10 us * 1.8^i, so that its histograms can be derived from ours.
LATENCY_BUCKETS_S = tuple(10e-6 * 1.8**i for i in range(33))
ROWS_BUCKETS = tuple(float(2**i) for i in range(11))

_REQUEST_LABELS = ("model", "version", "signature", "engine", "api", "entrypoint")
_BATCH_LABELS = ("model", "version", "signature", "engine")


class RequestEnd(NamedTuple):
    """A request that was answered, as it was asked for; see `Metrics.observe_request`."""

    model: str
    version: int | None
    signature: str
    api: str
    entrypoint: str
    code: Code
    seconds: float


class Metrics:
    """Counts and times requests, batches and loads, on a registry of its own.

    What a client may choose freely never becomes a label: a model or signature that isn't served is counted under the
    empty name. All methods may be called from any thread.

    Args:
        engine: Name of the engine, a label of everything.

    Attributes:
        listeners: Told of every request that was answered, in the task that answered it.
    """

    def __init__(self, engine: str = "onnxruntime") -> None:
        disable_created_metrics()  # a second series for each, which says when it was first counted
        self.engine = engine
        self.registry = CollectorRegistry()
        self.listeners: list[Callable[[RequestEnd], None]] = []
        self.tensorflow = TensorFlowMetrics()
        ProcessCollector(registry=self.registry)
        self._requests = self._counter("requests", "Requests answered", (*_REQUEST_LABELS, "code"))
        self._latency = self._histogram(
            "request_seconds", "Seconds to answer a request that succeeded", _REQUEST_LABELS, LATENCY_BUCKETS_S
        )
        self._batch_rows = self._histogram("batch_rows", "Rows of a batch", _BATCH_LABELS, ROWS_BUCKETS)
        self._run_s = self._histogram(
            "run_seconds", "Seconds of a batch in the engine", _BATCH_LABELS, LATENCY_BUCKETS_S
        )
        self._queue_s = self._histogram("queue_seconds", "Seconds in the queue", _BATCH_LABELS, LATENCY_BUCKETS_S)
        self._queued = self._gauge("queued_requests", "Requests that wait", ("model", "version", "queue"))
        self._in_flight = self._gauge("in_flight_requests", "Requests being answered", ("model", "version"))
        self._log_records = self._counter(
            "log_records", "Records that a log took (code OK) or had to drop", ("log", "model", "code")
        )
        self._loads = self._counter("loads", "Attempts to load a version", ("model", "code"))
        self._unloads = self._counter("unloads", "Versions unloaded", ("model",))
        self._info = self._gauge(
            "version_info", "1 for each version served", ("model", "version", "engine", "provider")
        )
        self._children: dict[tuple[str, ...], tuple[Counter, Histogram | None]] = {}
        self._batch_children: dict[tuple[str, int, str], tuple[Histogram, Histogram, Histogram]] = {}
        self._last_runs: dict[tuple[str, int], float] = {}
        self._signatures: dict[str, set[str]] = {}
        self._providers: dict[tuple[str, int], str] = {}

    def observe_request(
        self, model: str, version: int | None, *, signature: str, api: str, entrypoint: str, code: Code, seconds: float
    ) -> None:
        """Counts a request.

        Args:
            model: The model asked for.
            version: The version that answered, if any.
            signature: The signature asked for.
            api: What was called: `Predict`, `predict`, `explain`, and so on.
            entrypoint: `GRPC` or `REST`.
            code: How it ended.
            seconds: From the arrival to the answer.
        """
        asked = (model, version, signature)
        known = self._signatures.get(model)
        if known is None:
            model, version = "", None
        if known is None or signature not in known:
            signature = ""
        if self.listeners:
            end = RequestEnd(asked[0], asked[1], asked[2], api, entrypoint, code, seconds)
            for listener in self.listeners:
                listener(end)
        key = (model, "" if version is None else str(version), signature, self.engine, api, entrypoint, code.name)
        children = self._children.get(key)
        if children is None:
            latency = self._latency.labels(*key[:-1]) if code == Code.OK else None
            children = self._children[key] = (self._requests.labels(*key), latency)
        children[0].inc()
        if children[1] is not None:
            children[1].observe(seconds)

    def observe_batch(
        self, model: str, version: int, signature: str, *, rows: int, run_s: float, waits_s: Sequence[float]
    ) -> None:
        """Counts a batch: its rows, its seconds in the engine, and each of its requests' seconds in the queue."""
        self._last_runs[model, version] = time.time()
        key = (model, version, signature)
        children = self._batch_children.get(key)
        if children is None:
            labels = (model, str(version), signature, self.engine)
            children = self._batch_children[key] = (
                self._batch_rows.labels(*labels),
                self._run_s.labels(*labels),
                self._queue_s.labels(*labels),
            )
        children[0].observe(rows)
        children[1].observe(run_s)
        for wait_s in waits_s:
            children[2].observe(wait_s)

    def last_run(self, model: str, version: int) -> float:
        """When a batch of a version ended last, in seconds since 1970; 0 where none has."""
        return self._last_runs.get((model, version), 0.0)

    def observe_examples(self, model: str, count: int) -> None:
        """Counts the examples of a MultiInference that was answered."""
        self.tensorflow.observe_examples(model, count)

    def observe_log(self, log: str, model: str, code: Code) -> None:
        """Counts a record of the log `request` or `audit`: OK where it was written, else why it was not."""
        self._log_records.labels(log, model, code.name).inc()

    def observe_load(self, model: str, code: Code) -> None:
        """Counts an attempt to load a version."""
        self._loads.labels(model, code.name).inc()

    def add_version(self, model: str, version: int, *, provider: str, signatures: Iterable[str]) -> None:
        """A version is served from now on."""
        self._signatures.setdefault(model, set()).update(signatures)
        self._providers[model, version] = provider
        self._info.labels(model, str(version), self.engine, provider).set(1)

    def watch_queue(self, model: str, version: int, queue: str, length: Callable[[], int]) -> None:
        """Reads the length of a queue whenever the metrics are read."""
        self._queued.labels(model, str(version), queue).set_function(length)

    def watch_in_flight(self, model: str, version: int, count: Callable[[], int]) -> None:
        """Reads the number of requests that a version is answering whenever the metrics are read."""
        self._in_flight.labels(model, str(version)).set_function(count)

    def remove_version(self, model: str, version: int, queues: Iterable[str]) -> None:
        """A version is no longer served: its gauges go, what was counted stays."""
        _remove_watched(self._in_flight, model, str(version))
        for queue in queues:
            _remove_watched(self._queued, model, str(version), queue)
        self._last_runs.pop((model, version), None)
        provider = self._providers.pop((model, version), None)
        if provider is not None:
            self._info.remove(model, str(version), self.engine, provider)
            self._unloads.labels(model).inc()

    def expose(self) -> bytes:
        """The metrics in Prometheus' text format."""
        families = [*self._requests.collect(), *self._latency.collect(), *self._run_s.collect()]
        theirs = self.tensorflow.expose([*families, *self._log_records.collect()])
        return generate_latest(self.registry) + theirs.encode()

    def _counter(self, name: str, text: str, labels: Sequence[str]) -> Counter:
        return Counter(f"whyserve_{name}", text, labels, registry=self.registry)

    def _gauge(self, name: str, text: str, labels: Sequence[str]) -> Gauge:
        return Gauge(f"whyserve_{name}", text, labels, registry=self.registry)

    def _histogram(self, name: str, text: str, labels: Sequence[str], buckets: Sequence[float]) -> Histogram:
        return Histogram(f"whyserve_{name}", text, labels, registry=self.registry, buckets=buckets)


def _remove_watched(gauge: Gauge, *labels: str) -> None:
    """Removes a gauge that reads a function, and lets go of the function.

    prometheus_client's gauge would hold on to it in a cycle, and with it to all of the version that it reads.
    """
    gauge.labels(*labels).set_function(float)
    gauge.remove(*labels)
