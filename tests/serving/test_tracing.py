"""Spans, sent to a real OTLP receiver in this process."""

import asyncio
import builtins
import logging
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import grpc
import pytest
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2, trace_service_pb2_grpc

from serving.errors import StartError
from serving.tracing import Tracing
from tests.serving.test_observation import EXPLAIN, PREDICT, ROWS, SPAN, TRACE, TRACED
from tests.serving.test_server import HOST, X, ask_grpc, free_ports, options, rest, run, running

__all__ = ["options"]


class Collector(trace_service_pb2_grpc.TraceServiceServicer):
    """Keeps every span that it is sent."""

    def __init__(self) -> None:
        self.spans = []
        self.resources = []

    def Export(self, request, _context):  # noqa: N802 -- the service's name
        for resource in request.resource_spans:
            self.resources.append({each.key: each.value.string_value for each in resource.resource.attributes})
            for scope in resource.scope_spans:
                self.spans += scope.spans
        return trace_service_pb2.ExportTraceServiceResponse()

    def named(self, name: str) -> list:
        return [span for span in self.spans if span.name == name]


@pytest.fixture
def collector() -> Iterator[tuple[Collector, str]]:
    collector = Collector()
    server = grpc.server(ThreadPoolExecutor(1))
    trace_service_pb2_grpc.add_TraceServiceServicer_to_server(collector, server)
    port = server.add_insecure_port(f"{HOST}:0")
    server.start()
    yield collector, f"http://{HOST}:{port}"
    server.stop(None).wait()


def attributes(span) -> dict[str, object]:
    return {each.key: getattr(each.value, each.value.WhichOneof("value")) for each in span.attributes}


def test_a_request_is_a_span_below_its_callers_with_queue_and_run_below_it(options, collector):
    received, endpoint = collector

    async def test():
        async with running(replace(options, otlp_endpoint=endpoint)), rest(options) as client:
            await client.post(PREDICT, json=ROWS, headers=TRACED | {"tracestate": "a=1"})
            await ask_grpc(options, X, "explain")
            await client.post(PREDICT, json={"instances": [[1.0]]}, headers=TRACED)

    run(test())
    first, failed = received.named("predict")
    assert (first.trace_id.hex(), first.parent_span_id.hex(), first.trace_state) == (TRACE, SPAN, "a=1")
    assert first.kind == first.SPAN_KIND_SERVER
    assert attributes(first) == {
        "whyserve.model": "dense",
        "whyserve.version": 1,
        "whyserve.signature": "serving_default",
        "whyserve.entrypoint": "REST",
        "whyserve.status": "OK",
    }
    assert attributes(failed)["whyserve.status"] == "INVALID_ARGUMENT"
    assert failed.status.code == failed.status.STATUS_CODE_UNSET, "the caller's fault is no error of the server"
    below = {span.name: span for span in received.spans if span.parent_span_id == first.span_id}
    assert sorted(below) == ["queue", "run"]
    assert first.start_time_unix_nano <= below["queue"].start_time_unix_nano <= below["queue"].end_time_unix_nano
    assert below["queue"].end_time_unix_nano == below["run"].start_time_unix_nano
    assert below["run"].start_time_unix_nano < below["run"].end_time_unix_nano
    assert attributes(below["run"])["whyserve.batch.rows"] == 2
    (root,) = received.named("Predict")
    assert root.parent_span_id == b""
    assert attributes(root)["whyserve.signature"] == "explain"
    assert received.resources[0]["service.name"] == "whyserve"


def test_a_span_begins_when_the_request_arrives_and_not_when_its_body_has(options, collector):
    received, endpoint = collector

    async def slow_body():
        yield b'{"instances": '
        await asyncio.sleep(0.1)
        yield b"[[1, 2, 3, 4]]}"

    async def test():
        async with running(replace(options, otlp_endpoint=endpoint)), rest(options) as client:
            assert (await client.post(PREDICT, content=slow_body())).status_code == 200

    run(test())
    (span,) = received.named("predict")
    assert span.end_time_unix_nano - span.start_time_unix_nano > 0.08e9


def test_a_batch_is_linked_to_its_requests_and_they_to_it(options, collector):
    received, endpoint = collector

    async def test():
        slow = replace(options, otlp_endpoint=endpoint, max_wait_ms=100.0)
        async with running(slow), rest(options) as client:
            await asyncio.gather(*[client.post(PREDICT, json=ROWS) for _ in range(3)])

    run(test())
    requests = {span.span_id for span in received.named("predict")}
    batches = received.named("batch")
    linked = [{link.span_id for link in batch.links} for batch in batches]
    assert requests.issuperset(*linked)
    assert any(len(each) > 1 for each in linked)
    batch = max(batches, key=lambda span: len(span.links))
    assert attributes(batch)["whyserve.batch.requests"] == len(batch.links)
    runs = [span for span in received.named("run") if [link.span_id for link in span.links] == [batch.span_id]]
    assert {span.parent_span_id for span in runs} == {link.span_id for link in batch.links}


def test_a_caller_that_does_not_sample_is_obeyed(options, collector):
    received, endpoint = collector

    async def test():
        async with running(replace(options, otlp_endpoint=endpoint)), rest(options) as client:
            await client.post(PREDICT, json=ROWS, headers={"traceparent": f"00-{TRACE}-{SPAN}-00"})

    run(test())
    assert received.spans == []


def test_the_logs_name_the_trace_that_begins_here(options, collector, tmp_path):
    received, endpoint = collector
    options = replace(options, otlp_endpoint=endpoint, request_log=tmp_path / "r", audit_log=tmp_path / "a")

    async def test():
        async with running(options), rest(options) as client:
            await client.post(EXPLAIN, json=ROWS)

    run(test())
    (span,) = received.named("explain")
    assert f'"trace_id":"{span.trace_id.hex()}"' in options.request_log.read_text()
    assert f'"trace_id":"{span.trace_id.hex()}"' in options.audit_log.read_text()


@pytest.mark.slow
def test_a_collector_that_is_away_touches_no_request_and_holds_up_no_end(options, caplog):
    caplog.set_level(logging.CRITICAL, "opentelemetry")
    port, _ = free_ports()

    async def test():
        async with running(replace(options, otlp_endpoint=f"http://{HOST}:{port}")), rest(options) as client:
            for _ in range(20):
                assert (await client.post(PREDICT, json=ROWS)).status_code == 200

    started = time.monotonic()
    run(test())
    assert time.monotonic() - started < 15


def test_without_the_package_the_server_says_what_to_install(monkeypatch):
    real = builtins.__import__

    def without(name, *args, **kwargs):
        if name.startswith("opentelemetry"):
            raise ImportError(f"No module named {name!r}")
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(StartError, match=r"`otlp_endpoint` needs OpenTelemetry: .* Install whyserve's extra `tracing`"):
        Tracing("http://localhost:4317")


def test_spans_that_a_full_queue_drops_make_no_record_each():
    Tracing("http://127.0.0.1:1").close()
    source = logging.getLogger("opentelemetry.sdk._shared_internal")
    try:
        source.warning("Queue full, dropping Span of the test.")
        assert not source.isEnabledFor(logging.WARNING)
        assert source.isEnabledFor(logging.ERROR)
    finally:
        source.setLevel(logging.NOTSET)
