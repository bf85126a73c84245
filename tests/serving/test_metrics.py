import re

import pytest

from serving.errors import Code
from serving.metrics import Metrics


@pytest.fixture
def metrics():
    metrics = Metrics("onnxruntime")
    metrics.add_version("m", 1, provider="CPUExecutionProvider", signatures=["serving_default", "explain"])
    return metrics


def value(metrics: Metrics, name: str, **labels: str) -> float | None:
    """The value of the one sample of this name with these labels."""
    found = []
    for line in metrics.expose().decode().splitlines():
        match = re.fullmatch(r"([:\w]+)\{(.*)\} (\S+)", line)
        if match and match[1] == name and labels.items() <= dict(re.findall(r'(\w+)="([^"]*)"', match[2])).items():
            found.append(float(match[3]))
    assert len(found) <= 1, found
    return found[0] if found else None


def observe(
    metrics: Metrics, model: str = "m", version: int | None = 1, signature: str = "serving_default", **options
) -> None:
    defaults = {"api": "Predict", "entrypoint": "GRPC", "code": Code.OK, "seconds": 0.001}
    metrics.observe_request(model, version, signature=signature, **(defaults | options))


def test_requests_are_counted_by_what_was_asked_and_how_it_ended(metrics):
    observe(metrics)
    observe(metrics)
    observe(metrics, signature="explain")
    observe(metrics, code=Code.INVALID_ARGUMENT)
    assert value(metrics, "whyserve_requests_total", signature="serving_default", code="OK", engine="onnxruntime") == 2
    assert value(metrics, "whyserve_requests_total", signature="explain", version="1") == 1
    assert value(metrics, "whyserve_requests_total", code="INVALID_ARGUMENT") == 1
    assert value(metrics, "whyserve_request_seconds_count", signature="serving_default") == 2, "failures are not timed"
    assert value(metrics, "whyserve_request_seconds_sum", signature="serving_default") == pytest.approx(0.002)


def test_names_that_are_not_served_never_become_labels(metrics):
    for number in range(100):
        observe(metrics, model=f"nope{number}", version=None, code=Code.NOT_FOUND)
        observe(metrics, signature=f"nope{number}", code=Code.FAILED_PRECONDITION)
    assert value(metrics, "whyserve_requests_total", model="", code="NOT_FOUND") == 100
    assert value(metrics, "whyserve_requests_total", model="m", signature="", code="FAILED_PRECONDITION") == 100
    assert b"nope" not in metrics.expose()


def test_tensorflow_servings_names_add_up_what_it_does_not_tell_apart(metrics):
    observe(metrics)
    observe(metrics, signature="explain", version=2, seconds=0.003)
    observe(metrics, api="predict", entrypoint="REST")
    observe(metrics, code=Code.NOT_FOUND)
    assert value(metrics, ":tensorflow:serving:request_count", model_name="m", status="OK") == 3
    assert value(metrics, ":tensorflow:serving:request_count", model_name="m", status="NOT_FOUND") == 1
    latency = {"model_name": "m", "API": "Predict", "entrypoint": "GRPC"}
    assert value(metrics, ":tensorflow:serving:request_latency_count", **latency) == 2
    assert value(metrics, ":tensorflow:serving:request_latency_sum", **latency) == pytest.approx(4000)
    # Boundaries are 10 us * 1.8^i: 10 * 1.8^7 = 612 us, 10 * 1.8^8 = 1102 us, 10 * 1.8^10 = 3570 us.
    assert value(metrics, ":tensorflow:serving:request_latency_bucket", le="612.22", **latency) == 0
    assert value(metrics, ":tensorflow:serving:request_latency_bucket", le="1102", **latency) == 1
    assert value(metrics, ":tensorflow:serving:request_latency_bucket", le="3570.47", **latency) == 2
    assert value(metrics, ":tensorflow:serving:request_latency_bucket", le="+Inf", **latency) == 2
    text = metrics.expose().decode()
    assert "# TYPE :tensorflow:serving:request_count counter\n" in text
    assert "# TYPE :tensorflow:serving:request_latency histogram\n" in text


def test_batches_are_counted_with_their_rows_and_waits(metrics):
    metrics.observe_batch("m", 1, "explain", rows=5, run_s=0.002, waits_s=[0.1, 0.2, 0.3])
    assert value(metrics, "whyserve_batch_rows_sum", signature="explain") == 5
    assert value(metrics, "whyserve_run_seconds_sum", signature="explain") == pytest.approx(0.002)
    assert value(metrics, "whyserve_queue_seconds_count", signature="explain") == 3
    assert value(metrics, "whyserve_queue_seconds_sum", signature="explain") == pytest.approx(0.6)


def test_queues_are_read_when_the_metrics_are_and_go_with_their_version(metrics):
    waiting = [1, 2, 3]
    metrics.watch_queue("m", 1, "predict", waiting.__len__)
    assert value(metrics, "whyserve_queued_requests", model="m", queue="predict") == 3
    waiting.clear()
    assert value(metrics, "whyserve_queued_requests", model="m", queue="predict") == 0
    assert value(metrics, "whyserve_version_info", model="m", provider="CPUExecutionProvider") == 1
    metrics.remove_version("m", 1, ["predict"])
    assert value(metrics, "whyserve_queued_requests", model="m") is None
    assert value(metrics, "whyserve_version_info", model="m") is None
    assert value(metrics, "whyserve_unloads_total", model="m") == 1


def test_loads_are_counted_by_how_they_ended(metrics):
    metrics.observe_load("m", Code.OK)
    metrics.observe_load("m", Code.DATA_LOSS)
    assert value(metrics, "whyserve_loads_total", model="m", code="DATA_LOSS") == 1
