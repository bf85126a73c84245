"""Prometheus, one row a metric: TensorFlow Serving's names, types, labels and buckets; then our own.

Written from TensorFlow Serving's source: `util.cc`, `saved_model_warmup_util.cc`, `batching_session.cc`,
`request_logger.cc`, and TensorFlow's `cc/saved_model/loader.cc`.
"""

import asyncio
import re
from collections import defaultdict
from dataclasses import dataclass, field, replace
from pathlib import Path

import grpc
import httpx
import numpy as np
import pytest

from serving.grpc.service import PREDICTION_SERVICE
from serving.options import ServerOptions
from serving.protos import inference_pb2
from tests.serving.bundles import FEATURES, write_bundle
from tests.serving.test_server import HOST, ask_grpc, free_ports, running
from tests.serving.test_warmup import predict_log, write_records

LATENCY = [10 * 1.8**i for i in range(33)]
POWERS = [2.0**i for i in range(15)]
NAME = r"(?P<name>[a-zA-Z_:][a-zA-Z0-9_:]*)"
SAMPLE = re.compile(NAME + r"(?:\{(?P<labels>.*)\})? (?P<value>\S+)")
LABEL = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"(?:,|$)')


@dataclass
class Family:
    """A metric as Prometheus reads it: its type, and its samples by suffix."""

    kind: str
    samples: dict[str, list[tuple[dict[str, str], float]]] = field(default_factory=lambda: defaultdict(list))


def parse(text: str) -> dict[str, Family]:
    """The text format: every sample stands below the type of its family, and no family stands twice."""
    families: dict[str, Family] = {}
    name = ""
    for line in text.splitlines():
        if line.startswith("# TYPE "):
            _, _, name, kind = line.split(" ")
            assert name not in families, name
            families[name] = Family(kind)
        elif not line.startswith("#"):
            match = SAMPLE.fullmatch(line)
            assert match is not None, line
            assert match["name"].startswith(name), line
            labels = dict(LABEL.findall(match["labels"] or ""))
            families[name].samples[match["name"].removeprefix(name)].append((labels, float(match["value"])))
    return families


@pytest.fixture(scope="module")
def exposed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Family]:
    """What a server shows after: two predictions, one over each transport; one refused; one explanation; a
    MultiInference of three examples; the status and the metadata of a model, over REST; one warm-up record; and a
    version that could not be loaded."""
    root = tmp_path_factory.mktemp("metrics")
    write_records(write_bundle(root / "models" / "dense", 1), predict_log())
    (write_bundle(root / "models" / "dense", 2) / "predict.onnx").write_bytes(b"x" * 400)
    port, rest_api_port = free_ports()
    options = ServerOptions(
        port=port, rest_api_port=rest_api_port, host=HOST, model_repository=root / "models", drain_delay_s=0.0
    )
    options = replace(options, request_log=root / "requests.jsonl", request_log_max_bytes=0)
    text = asyncio.run(asyncio.wait_for(_ask(options), 30))
    return parse(text)


async def _ask(options: ServerOptions) -> str:
    x = np.ones((2, FEATURES), np.float32)
    async with running(options), httpx.AsyncClient(base_url=f"http://{HOST}:{options.rest_api_port}") as client:
        await ask_grpc(options, x)
        for verb in ("predict", "explain"):
            assert (await client.post(f"/v1/models/dense:{verb}", json={"instances": x.tolist()})).status_code == 200
        assert (await client.post("/v1/models/dense:predict", json={"instances": [[1]]})).status_code == 400
        assert (await client.get("/v1/models/dense")).status_code == 200
        assert (await client.get("/v1/models/dense/metadata")).status_code == 200
        await _multi_inference(options)
        await asyncio.sleep(0.2)  # the request log counts what it has written
        answer = await client.get("/monitoring/prometheus/metrics")
        assert answer.headers["content-type"].startswith("text/plain")
        return answer.text


async def _multi_inference(options: ServerOptions) -> None:
    request = inference_pb2.MultiInferenceRequest()
    task = request.tasks.add(method_name="tensorflow/serving/classify")
    task.model_spec.name = "dense"
    for _ in range(3):
        example = request.input.example_list.examples.add()
        example.features.feature["x"].float_list.value.extend([1.0] * FEATURES)
    async with grpc.aio.insecure_channel(f"{HOST}:{options.port}") as channel:
        await channel.unary_unary(f"/{PREDICTION_SERVICE}/MultiInference")(request.SerializeToString(), timeout=10)


SERVING, BATCHING = ":tensorflow:serving:", ":tensorflow:serving:batching_session:"
LOADING, CORE = ":tensorflow:cc:saved_model:", ":tensorflow:core:"

# Name, labels of one series, and its value: what was asked above. The path's label is the end of the path.
COUNTERS = [
    # Three over REST, of them one refused; two GETs; one over gRPC. MultiInference is not counted.
    (f"{SERVING}request_count", {"model_name": "dense", "status": "OK"}, 5),
    (f"{SERVING}request_count", {"model_name": "dense", "status": "INVALID_ARGUMENT"}, 1),
    (f"{SERVING}request_example_count_total", {"model": "dense"}, 3),
    (f"{SERVING}request_log_count", {"model_name": "dense", "status_code": "OK"}, 5),
    (f"{SERVING}model_warmup_records_read", {"model_path": "/dense/1", "status": "OK"}, 1),
    (f"{LOADING}load_attempt_count", {"model_path": "/dense/1", "status": "success"}, 1),
    (f"{LOADING}load_attempt_count", {"model_path": "/dense/2", "status": "fail"}, 1),
    (f"{LOADING}load_latency", {"model_path": "/dense/1"}, None),
    (f"{BATCHING}wrapped_run_count", {}, 5),
    (f"{CORE}graph_runs", {}, 5),
    (f"{CORE}graph_run_time_usecs", {}, None),
]

# Name, labels of one series, how many values it has, and the boundaries of its buckets.
HISTOGRAMS = [
    (f"{SERVING}request_latency", {"model_name": "dense", "API": "Predict", "entrypoint": "GRPC"}, 1, LATENCY),
    (f"{SERVING}request_latency", {"model_name": "dense", "API": "predict", "entrypoint": "REST"}, 1, LATENCY),
    (f"{SERVING}request_latency", {"model_name": "dense", "API": "explain", "entrypoint": "REST"}, 1, LATENCY),
    (f"{SERVING}request_latency", {"model_name": "dense", "API": "", "entrypoint": "REST"}, 2, LATENCY),
    (f"{SERVING}runtime_latency", {"model_name": "dense", "API": "Predict", "runtime": "TF1"}, 3, LATENCY),
    (f"{SERVING}request_example_counts", {"model": "dense"}, 1, POWERS),
    (f"{SERVING}model_warmup_latency", {"model_path": "/dense/1", "status": "OK"}, 1, LATENCY),
    (f"{BATCHING}queuing_latency", {"thread_pool_name": "predict"}, 4, [100 * 1.2**i for i in range(52)]),
    (f"{BATCHING}queuing_latency", {"thread_pool_name": "explain"}, 1, [100 * 1.2**i for i in range(52)]),
    (f"{BATCHING}input_batch_size", {}, 5, POWERS),
    (f"{BATCHING}processed_batch_size", {}, 5, POWERS),
]

SERVED = {"model": "dense", "version": "1"}
ENGINE = {"engine": "onnxruntime"}
OWN = [
    ("whyserve_requests_total", {**SERVED, **ENGINE, "signature": "explain", "api": "explain", "code": "OK"}, 1),
    ("whyserve_requests_total", {**SERVED, **ENGINE, "signature": "serving_default", "api": "Predict"}, 1),
    ("whyserve_queued_requests", {**SERVED, "queue": "explain"}, 0),
    ("whyserve_queued_requests", {**SERVED, "queue": "predict"}, 0),
    ("whyserve_in_flight_requests", SERVED, 0),
    ("whyserve_batch_rows", {**SERVED, **ENGINE, "signature": "explain"}, 1),
    ("whyserve_run_seconds", {**SERVED, **ENGINE, "signature": "serving_default"}, 4),
    ("whyserve_queue_seconds", {**SERVED, **ENGINE, "signature": "explain"}, 1),
    ("whyserve_request_seconds", {**SERVED, **ENGINE, "signature": "explain", "api": "explain"}, 1),
    ("whyserve_log_records_total", {"log": "request", "model": "dense", "code": "OK"}, 5),
    ("whyserve_loads_total", {"model": "dense", "code": "OK"}, 1),
    ("whyserve_loads_total", {"model": "dense", "code": "DATA_LOSS"}, 1),
    ("whyserve_version_info", {**SERVED, **ENGINE, "provider": "CPUExecutionProvider"}, 1),
    ("process_resident_memory_bytes", {}, None),
    ("process_open_fds", {}, None),
]


def one(samples: list[tuple[dict[str, str], float]], labels: dict[str, str]) -> tuple[dict[str, str], float]:
    """The one series with these labels; of a path the end is given."""
    found = [
        (theirs, value)
        for theirs, value in samples
        if all(
            theirs[name].endswith(wanted) if name == "model_path" else theirs[name] == wanted
            for name, wanted in labels.items()
        )
    ]
    assert len(found) == 1, samples
    return found[0]


@pytest.mark.parametrize(("name", "labels", "expected"), COUNTERS)
def test_counter(exposed, name, labels, expected):
    family = exposed[name]
    assert family.kind == "counter"
    theirs, value = one(family.samples[""], labels)
    assert theirs.keys() == labels.keys()
    assert value > 0 if expected is None else value == expected


@pytest.mark.parametrize(("name", "labels", "count", "bounds"), HISTOGRAMS)
def test_histogram(exposed, name, labels, count, bounds):
    family = exposed[name]
    assert family.kind == "histogram"
    theirs, value = one(family.samples["_count"], labels)
    assert theirs.keys() == labels.keys()
    assert value == count
    buckets = [
        (each["le"], value)
        for each, value in family.samples["_bucket"]
        if {name: label for name, label in each.items() if name != "le"} == theirs
    ]
    assert [le for le, _ in buckets] == [*(f"{bound:.6g}" for bound in bounds), "+Inf"]
    values = [value for _, value in buckets]
    assert values == sorted(values)
    assert values[-1] == count
    assert one(family.samples["_sum"], theirs)[1] > 0


def test_padding_is_shown_where_batches_are_filled_up(exposed):
    assert exposed[f"{BATCHING}padding_size"].kind == "histogram"
    assert exposed[f"{BATCHING}padding_size"].samples == {}, "none was"


@pytest.mark.parametrize(("name", "labels", "expected"), OWN)
def test_own(exposed, name, labels, expected):
    family = exposed[name]
    suffix = "_count" if family.kind == "histogram" else ""
    labels = dict(labels)
    _, value = one(family.samples[suffix], labels)
    assert value > 0 if expected is None else value == expected


def test_every_metric_has_a_row(exposed):
    rows = {row[0] for row in (*COUNTERS, *HISTOGRAMS)} | {f"{BATCHING}padding_size"}
    assert {name for name in exposed if name.startswith(":")} == rows


def test_a_padded_batch_is_counted_by_the_size_that_ran(tmp_path: Path):
    from serving.metrics import Metrics

    metrics = Metrics()
    metrics.tensorflow.observe_batch(
        "m", "predict", apis=["predict"], sizes=[3, 2], executed_rows=8, run_s=0.001, waits_s=[0.0, 0.0]
    )
    families = parse(metrics.expose().decode())
    padding = families[f"{BATCHING}padding_size"].samples
    assert padding["_sum"] == [({"execution_batch_size": "8"}, 3.0)]
    processed = families[f"{BATCHING}processed_batch_size"].samples
    assert processed["_sum"] == [({}, 8.0)]
    assert [count for labels, count in processed["_bucket"] if labels["le"] in ("4", "8", "16")] == [0.0, 1.0, 1.0]
    assert families[f"{BATCHING}input_batch_size"].samples["_count"] == [({}, 2.0)]
