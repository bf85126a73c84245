"""What an operator asked to see and to keep: logs, traces, metrics. Where no flag is set, nothing is imported."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from serving.batching import BatchReport
from serving.config.models import RequestLogging
from serving.errors import ServingError, StartError
from serving.metrics import METRICS_PATH, Metrics
from serving.options import ServerOptions

if TYPE_CHECKING:
    from serving.logs.audit import AuditLog
    from serving.logs.recorder import Recorder
    from serving.logs.requests import RequestLog
    from serving.tracing import Tracing


class Observation:
    """The logs and traces of a server.

    Args:
        options: The server's.
        metrics: Where everything is counted.
        logging_of: A model's `logging_config`, or None where it has none.

    Attributes:
        metrics_path: Where REST shows the metrics; empty: nowhere.
        recorder: What the data plane runs requests through; None where nothing is to be kept of them.
        observe_batch: What is told of every batch; None: nobody.

    Raises:
        StartError: A log can't be written, a file can't be read, or a package is missing.
    """

    def __init__(
        self, options: ServerOptions, metrics: Metrics, logging_of: Callable[[str], RequestLogging | None]
    ) -> None:
        self.metrics_path = read_metrics_path(options.monitoring_config_file)
        self._requests = _open_request_log(options, metrics, logging_of)
        self._audit = _open_audit_log(options, metrics)
        self._tracing = _start_tracing(options, metrics)
        if options.access_log:
            from serving.logs.access import log_access

            metrics.listeners.insert(0, log_access)
        self.recorder = self._make_recorder()
        self.observe_batch: Callable[[str, int, BatchReport], None] | None = (
            None if self._tracing is None else self._tracing.observe_batch
        )

    def close(self) -> None:
        """Writes and sends what waits; blocks."""
        if self._requests is not None:
            self._requests.close()
        if self._audit is not None:
            self._audit.close()
        if self._tracing is not None:
            self._tracing.close()

    def _make_recorder(self) -> "Recorder | None":
        if self._requests is None and self._audit is None and self._tracing is None:
            return None
        from serving.logs.recorder import Recorder

        return Recorder(requests=self._requests, audit=self._audit, tracing=self._tracing)


def read_metrics_path(file: Path | None) -> str:
    """Where REST shows the metrics: as the MonitoringConfig says, and without one at TensorFlow Serving's default path.

    Args:
        file: A MonitoringConfig in text format.

    Returns:
        The path; empty where the file doesn't enable them.

    Raises:
        StartError: The file can't be read, or names no path.
    """
    if file is None:
        return METRICS_PATH
    from serving.config.text_proto import read_text_proto
    from serving.protos import monitoring_config_pb2

    try:
        config = read_text_proto(file, monitoring_config_pb2.MonitoringConfig())
    except ServingError as error:
        raise StartError(error.message) from error
    if not config.prometheus_config.enable:
        return ""
    path: str = config.prometheus_config.path or METRICS_PATH
    if not path.startswith("/"):
        raise StartError(f"`path` in {file} must start with a slash. Received: {path!r}.")
    return path


def _open_request_log(
    options: ServerOptions, metrics: Metrics, logging_of: Callable[[str], RequestLogging | None]
) -> "RequestLog | None":
    # Models of a configuration file may get a log of their own at any time.
    if options.request_log is None and options.model_config_file is None:
        return None
    from serving.logs.requests import RequestLog, RequestLogOptions

    return RequestLog(
        RequestLogOptions(
            path=options.request_log,
            format=options.request_log_format,
            sampling_rate=options.request_log_sampling_rate,
            max_bytes=options.request_log_max_bytes,
            max_files=options.request_log_max_files,
        ),
        metrics,
        config_of=logging_of,
    )


def _open_audit_log(options: ServerOptions, metrics: Metrics) -> "AuditLog | None":
    if options.audit_log is None:
        return None
    from serving.logs.audit import AuditLog

    return AuditLog(
        options.audit_log,
        relevance=options.audit_log_relevance,
        count=lambda model, code: metrics.observe_log("audit", model, code),
    )


def _start_tracing(options: ServerOptions, metrics: Metrics) -> "Tracing | None":
    if not options.otlp_endpoint:
        return None
    from serving.tracing import Tracing

    tracing = Tracing(options.otlp_endpoint)
    metrics.listeners.append(tracing.end)
    return tracing
