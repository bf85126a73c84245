"""Spans of OpenTelemetry for requests and batches, sent to a collector over OTLP.

The span of a request is a child of the caller's (`traceparent`), and has two children: its wait in the queue, and the
run of the engine. A run that answered several requests is a span of its own, linked to and from each of them.
"""

import logging
import threading
import time
from typing import TYPE_CHECKING, Any

from serving.batching import BatchReport
from serving.errors import Code, StartError
from serving.metrics import RequestEnd
from serving.request_context import CURRENT, RequestContext

if TYPE_CHECKING:
    from opentelemetry.util.types import AnyValue

logger = logging.getLogger(__name__)

_SERVICE_NAME = "whyserve"
_FLUSH_S = 5.0
_SDK_QUEUE_LOGGER = "opentelemetry.sdk._shared_internal"
_SILENCE_S = 20.0
# What the server is to blame for; the other codes are the caller's, and no errors of this span (OpenTelemetry's
# semantic conventions for gRPC servers).
_SERVER_ERRORS = frozenset(
    {
        Code.UNKNOWN,
        Code.DEADLINE_EXCEEDED,
        Code.UNIMPLEMENTED,
        Code.INTERNAL,
        Code.UNAVAILABLE,
        Code.DATA_LOSS,
    }
)


class _OncePerWhile(logging.Filter):
    """Lets one warning through, and has none made for a while after it.

    While the collector is away the SDK warns of every span that its full queue drops. A record of each, made only to be
    thrown away by a filter, cost a quarter of all tracing (81 us a request, against 59).
    """

    def filter(self, record: logging.LogRecord) -> bool:
        """Lets it through."""
        if record.levelno == logging.WARNING:
            source = logging.getLogger(record.name)
            source.setLevel(logging.ERROR)
            timer = threading.Timer(_SILENCE_S, source.setLevel, (logging.NOTSET,))
            timer.daemon = True
            timer.start()
        return True


_ONCE_PER_WHILE = _OncePerWhile()


class Tracing:
    """Makes spans and exports them in a thread of the SDK; a collector that is away never touches a request.

    Which traces are kept is the caller's choice (`sampled` in its `traceparent`), and without one that of the SDK's
    environment variables: OTEL_TRACES_SAMPLER, OTEL_SERVICE_NAME, OTEL_RESOURCE_ATTRIBUTES, OTEL_BSP_*, and
    OTEL_EXPORTER_OTLP_* for headers and certificates.

    Args:
        endpoint: The collector's OTLP gRPC address, as in `http://localhost:4317`; with `https://` over TLS.

    Raises:
        StartError: OpenTelemetry isn't installed.
    """

    def __init__(self, endpoint: str) -> None:
        try:
            from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
            from opentelemetry.sdk.resources import SERVICE_NAME, OTELResourceDetector, Resource
            from opentelemetry.sdk.trace import TracerProvider
            from opentelemetry.sdk.trace.export import BatchSpanProcessor
            from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
        except ImportError as error:
            raise StartError(
                f"`otlp_endpoint` needs OpenTelemetry: {error}. Install whyserve's extra `tracing`, or leave it out."
            ) from error
        logging.getLogger(_SDK_QUEUE_LOGGER).addFilter(_ONCE_PER_WHILE)  # the SDK's own is there since its import
        resource = Resource({SERVICE_NAME: _SERVICE_NAME}).merge(OTELResourceDetector().detect())
        self._provider = TracerProvider(resource=resource, shutdown_on_exit=False)
        self._provider.add_span_processor(
            BatchSpanProcessor(OTLPSpanExporter(endpoint=endpoint, insecure=not endpoint.startswith("https://")))
        )
        self._tracer = self._provider.get_tracer("whyserve")
        self._propagator = TraceContextTextMapPropagator()

    def start(self, request: RequestContext) -> Any:
        """The span of a request, from its arrival on."""
        if request.span is None:
            from opentelemetry.context import Context
            from opentelemetry.trace import SpanKind

            carrier = {name: request.header(name) for name in ("traceparent", "tracestate")}
            request.span = self._tracer.start_span(
                request.api or request.entrypoint,
                self._propagator.extract(carrier, Context()),
                SpanKind.SERVER,
                start_time=request.started_ns,
            )
        return request.span

    def end(self, end: RequestEnd) -> None:
        """A request was answered: closes its span."""
        request = CURRENT.get()
        if request is None:
            return
        span = self.start(request)
        if span.is_recording():
            from opentelemetry.trace import StatusCode

            span.update_name(end.api or end.entrypoint)
            span.set_attributes(
                {
                    "whyserve.model": end.model,
                    "whyserve.version": -1 if end.version is None else end.version,
                    "whyserve.signature": end.signature,
                    "whyserve.entrypoint": end.entrypoint,
                    "whyserve.status": end.code.name,
                }
            )
            if end.code in _SERVER_ERRORS:
                span.set_status(StatusCode.ERROR, end.code.name)
        span.end()

    def observe_batch(self, model: str, version: int, report: BatchReport) -> None:
        """A batch ran: notes for each of its requests how long it waited, and in which run it was answered."""
        requests = [
            (request.span, wait_s)
            for request, wait_s in zip(report.requests, report.waits_s, strict=True)
            if request is not None and request.span is not None and request.span.is_recording()
        ]
        if not requests:
            return
        from opentelemetry.context import Context
        from opentelemetry.trace import Link, set_span_in_context

        started = time.time_ns() - int((time.perf_counter() - report.started_s) * 1e9)
        ended = started + int(report.run_s * 1e9)
        attributes: dict[str, AnyValue] = {
            "whyserve.model": model,
            "whyserve.version": version,
            "whyserve.signature": report.signature_name,
            "whyserve.batch.rows": report.rows,
            "whyserve.batch.requests": len(report.waits_s),
        }
        links = []
        if len(report.waits_s) > 1:
            batch = self._tracer.start_span(
                "batch",
                Context(),
                attributes=attributes,
                links=[Link(span.get_span_context()) for span, _ in requests],
                start_time=started,
            )
            batch.end(ended)
            links = [Link(batch.get_span_context())]
        for span, wait_s in requests:
            parent = set_span_in_context(span, Context())
            queued = self._tracer.start_span("queue", parent, start_time=started - int(wait_s * 1e9))
            queued.end(started)
            run = self._tracer.start_span("run", parent, attributes=attributes, links=links, start_time=started)
            run.end(ended)

    def close(self) -> None:
        """Sends what waits, for a few seconds at most; blocks."""
        # The exporter tries again and again while the collector is away: that must not hold up the end of the server.
        thread = threading.Thread(target=self._provider.shutdown, name="close tracing", daemon=True)
        thread.start()
        thread.join(_FLUSH_S)
        if thread.is_alive():
            logger.warning("The collector doesn't answer: spans of the last seconds are lost")
