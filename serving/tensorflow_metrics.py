"""The metrics of TensorFlow Serving under its own names, types, buckets and labels, for dashboards that know them.

`/a/b_c` of its source is written `:a:b_c`, latencies are microseconds, and counters have no `_total`, which is why a
Prometheus client library can't write them. The boundaries stand in its source: `saved_model_warmup_util.cc`, `util.cc`
and `batching_session.cc`.
"""

import functools
import threading
from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence

from prometheus_client.metrics_core import Metric

from serving.errors import Code

LATENCY_BOUNDS = tuple(10 * 1.8**i for i in range(33))
QUEUING_BOUNDS = tuple(100 * 1.2**i for i in range(52))
EXAMPLES_BOUNDS = tuple(float(2**i) for i in range(15))
ROWS_BOUNDS = tuple(float(2**i) for i in range(15))
PADDING_BOUNDS = (0.0, *ROWS_BOUNDS)

RUNTIME = "TF1"
"""The value that TensorFlow Serving gives the label `runtime` for every model but TFRT's."""

SERVING, BATCHING, LOADING = (
    ":tensorflow:serving:",
    ":tensorflow:serving:batching_session:",
    ":tensorflow:cc:saved_model:",
)

# Of gRPC it counts these; of REST every request. Ours, which it doesn't know, are counted with them.
_COUNTED_RPCS = frozenset({"Predict", "Classify", "Regress", "ModelInfer", "ModelStreamInfer"})
_NO_API = frozenset({"status", "metadata"})

Labels = tuple[str, ...]


class _Counter:
    def __init__(self, labels: Sequence[str]) -> None:
        self.labels = labels
        self.values: dict[Labels, float] = {}

    def add(self, labels: Labels, value: float = 1.0) -> None:
        self.values[labels] = self.values.get(labels, 0.0) + value

    def lines(self, name: str) -> list[str]:
        series = [f"{name}{_braces(self.labels, labels)} {value:.17g}" for labels, value in self.values.items()]
        return [f"# TYPE {name} counter", *series]


class _Histogram:
    def __init__(self, labels: Sequence[str], bounds: Sequence[float]) -> None:
        self.labels = labels
        self.bounds = bounds
        # A count for each bucket, one for what lies above, and the sum.
        self.series: dict[Labels, list[float]] = {}

    def observe(self, labels: Labels, value: float) -> None:
        series = self.series.get(labels)
        if series is None:
            series = self.series[labels] = [0.0] * (len(self.bounds) + 2)
        series[bisect_left(self.bounds, value)] += 1
        series[-1] += value

    def count(self) -> float:
        return sum(sum(series[:-1]) for series in self.series.values())

    def lines(self, name: str) -> list[str]:
        lines = [f"# TYPE {name} histogram"]
        names = (*self.labels, "le")
        for labels, (*counts, observed) in self.series.items():
            total = 0.0
            for bound, count in zip((*self.bounds, None), counts, strict=True):
                total += count
                text = "+Inf" if bound is None else f"{bound:.6g}"
                lines.append(f"{name}_bucket{_braces(names, (*labels, text))} {total:.0f}")
            lines.append(f"{name}_sum{_braces(self.labels, labels)} {observed:.17g}")
            lines.append(f"{name}_count{_braces(self.labels, labels)} {total:.0f}")
        return lines


class TensorFlowMetrics:
    """What is counted for TensorFlow Serving's names alone. All methods may be called from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._runtime_latency = _Histogram(("model_name", "API", "runtime"), LATENCY_BOUNDS)
        self._queuing_latency = _Histogram(("thread_pool_name",), QUEUING_BOUNDS)
        self._padding_size = _Histogram(("execution_batch_size",), PADDING_BOUNDS)
        self._input_batch_size = _Histogram((), ROWS_BOUNDS)
        self._processed_batch_size = _Histogram((), ROWS_BOUNDS)
        self._example_counts = _Histogram(("model",), EXAMPLES_BOUNDS)
        self._example_count_total = _Counter(("model",))
        self._warmup_latency = _Histogram(("model_path", "status"), LATENCY_BOUNDS)
        self._warmup_records = _Counter(("model_path", "status"))
        self._load_attempts = _Counter(("model_path", "status"))
        self._load_latency = _Counter(("model_path",))
        self._own: dict[str, _Counter | _Histogram] = {
            f"{SERVING}runtime_latency": self._runtime_latency,
            f"{SERVING}request_example_counts": self._example_counts,
            f"{SERVING}request_example_count_total": self._example_count_total,
            f"{SERVING}model_warmup_latency": self._warmup_latency,
            f"{SERVING}model_warmup_records_read": self._warmup_records,
            f"{BATCHING}queuing_latency": self._queuing_latency,
            f"{BATCHING}padding_size": self._padding_size,
            f"{BATCHING}input_batch_size": self._input_batch_size,
            f"{BATCHING}processed_batch_size": self._processed_batch_size,
            f"{LOADING}load_attempt_count": self._load_attempts,
            f"{LOADING}load_latency": self._load_latency,
        }

    def observe_batch(
        self,
        model: str,
        queue: str,
        *,
        apis: Sequence[str],
        sizes: Sequence[int],
        executed_rows: int,
        run_s: float,
        waits_s: Sequence[float],
    ) -> None:
        """Counts a batch.

        Args:
            model: The model's name.
            queue: The name of its queue, in the place of the thread pool's.
            apis: What each of its requests called; may be shorter.
            sizes: Rows of each of its requests.
            executed_rows: Rows that ran, with those that filled the batch up.
            run_s: Seconds in the engine.
            waits_s: Seconds of each request in the queue.
        """
        with self._lock:
            self._processed_batch_size.observe((), executed_rows)
            padding = executed_rows - sum(sizes)
            if padding:
                self._padding_size.observe((str(executed_rows),), padding)
            for index, wait_s in enumerate(waits_s):
                api = apis[index] if index < len(apis) else ""
                self._runtime_latency.observe((model, api_name(api), RUNTIME), (wait_s + run_s) * 1e6)
                self._queuing_latency.observe((queue,), wait_s * 1e6)
            for size in sizes:
                self._input_batch_size.observe((), size)

    def observe_examples(self, model: str, count: int) -> None:
        """Counts the tf.Examples of a request."""
        with self._lock:
            self._example_counts.observe((model,), count)
            self._example_count_total.add((model,), count)

    def observe_warmup(self, path: str, code: Code, *, num_records: int, seconds: float) -> None:
        """Counts a replay of warm-up records."""
        with self._lock:
            self._warmup_latency.observe((path, code.name), seconds * 1e6)
            self._warmup_records.add((path, code.name), num_records)

    def observe_load(self, path: str, *, seconds: float | None) -> None:
        """Counts an attempt to load a version; `seconds` is None where it failed."""
        with self._lock:
            self._load_attempts.add((path, "fail" if seconds is None else "success"))
            if seconds is not None:
                self._load_latency.add((path,), seconds * 1e6)

    def expose(self, families: Iterable[Metric]) -> str:
        """The text, with what follows from our own metrics `families`."""
        known = {family.name: family for family in families}
        with self._lock:
            lines = [line for name, metric in self._own.items() for line in metric.lines(name)]
            runs = _Counter(())
            runs.add((), self._processed_batch_size.count())
        for name, metric in {f"{BATCHING}wrapped_run_count": runs, **_derive(known)}.items():
            lines += metric.lines(name)
        lines += _request_latency(known["whyserve_request_seconds"])
        return "\n".join(lines) + "\n"


@functools.cache  # of a few names, all ours
def api_name(api: str) -> str:
    """How TensorFlow Serving writes what was called in `runtime_latency`, for REST and gRPC alike."""
    return api if api[:1].isupper() else api.capitalize() or "Predict"


def _derive(families: Mapping[str, Metric]) -> dict[str, _Counter]:
    """Counters that are sums of ours."""
    requests, logged = _Counter(("model_name", "status")), _Counter(("model_name", "status_code"))
    runs, run_time = _Counter(()), _Counter(())
    for labels, value in _samples(families["whyserve_requests"], "_total"):
        if labels["entrypoint"] == "REST" or labels["api"] in _COUNTED_RPCS:
            requests.add((labels["model"], labels["code"]), value)
    for labels, value in _samples(families["whyserve_log_records"], "_total"):
        if labels["log"] == "request":
            logged.add((labels["model"], labels["code"]), value)
    for _, value in _samples(families["whyserve_run_seconds"], "_count"):
        runs.add((), value)
    for _, value in _samples(families["whyserve_run_seconds"], "_sum"):
        run_time.add((), float(round(value * 1e6)))
    return {
        f"{SERVING}request_count": requests,
        f"{SERVING}request_log_count": logged,
        ":tensorflow:core:graph_runs": runs,
        ":tensorflow:core:graph_run_time_usecs": run_time,
    }


def _request_latency(family: Metric) -> list[str]:
    """Microseconds, summed over versions and signatures, which TensorFlow Serving doesn't tell apart."""
    name = f"{SERVING}request_latency"
    totals: dict[str, float] = {}
    for suffix, scale in (("_bucket", 1.0), ("_sum", 1e6), ("_count", 1.0)):
        for labels, value in _samples(family, suffix):
            if labels["entrypoint"] == "GRPC" and labels["api"] not in _COUNTED_RPCS:
                continue
            api = "" if labels["api"] in _NO_API else labels["api"]
            names, values = ["model_name", "API", "entrypoint"], [labels["model"], api, labels["entrypoint"]]
            if suffix == "_bucket":
                names.append("le")
                values.append(labels["le"] if labels["le"] == "+Inf" else f"{float(labels['le']) * 1e6:.6g}")
            key = f"{suffix}{_braces(names, values)}"
            totals[key] = totals.get(key, 0.0) + value * scale
    return [f"# TYPE {name} histogram", *(f"{name}{key} {value:.17g}" for key, value in totals.items())]


def _samples(family: Metric, suffix: str) -> list[tuple[dict[str, str], float]]:
    return [(sample.labels, sample.value) for sample in family.samples if sample.name.endswith(suffix)]


def _braces(names: Sequence[str], values: Sequence[str]) -> str:
    pairs = [f'{name}="{_escape(value)}"' for name, value in zip(names, values, strict=True)]
    return f"{{{','.join(pairs)}}}"


def _escape(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
