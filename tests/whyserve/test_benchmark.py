import json
import os
import subprocess
import sys

import numpy as np
import pytest

from serving.types import Signature
from tests.whyserve.conftest import run_whyserve
from whyserve.benchmark.cores import Cores, pinned
from whyserve.benchmark.in_process import Spread, measure
from whyserve.benchmark.inputs import real_inputs, rows_of
from whyserve.benchmark.json_cost import measure_parsing
from whyserve.benchmark.load import percentiles
from whyserve.benchmark.machine import Machine, resident_mb
from whyserve.errors import CommandError


class Recorder:
    """A model that only writes down in what order its signatures run."""

    provider = "none"

    def __init__(self, *signatures):
        self.signatures = {name: Signature({}, {}) for name in signatures}
        self.runs = []

    def run(self, signature_name, inputs, output_names):
        self.runs.append(signature_name)
        return {}


def test_predict_and_explain_run_in_turn_and_the_ratio_is_that_of_pairs():
    model = Recorder("serving_default", "explain")
    result = measure(model, "test", {"x": np.zeros((4, 2))}, budget_s=0.01)
    assert model.runs == ["serving_default", "explain"] * (len(model.runs) // 2)
    assert result.batch == 4
    assert result.pairs >= 10
    assert result.ratio.min <= result.ratio.median <= result.ratio.max


def test_a_model_without_explanations_has_no_ratio():
    result = measure(Recorder("serving_default"), "test", {"x": np.zeros((1, 2))}, budget_s=0.01)
    assert result.explain_ms is None
    assert result.ratio is None


def test_spread_reads_median_first():
    assert str(Spread.of([3.0, 1.0, 2.0])) == "2 (1 to 3)"


def test_rows_are_repeated_to_any_batch():
    rows = rows_of({"x": np.arange(6).reshape(3, 2)}, 5)["x"]
    assert rows.tolist() == [[0, 1], [2, 3], [4, 5], [0, 1], [2, 3]]


def test_the_machine_names_its_processor_and_cores():
    machine = Machine.here()
    assert machine.processor
    assert 1 <= machine.cores <= os.cpu_count()


def test_resident_memory_is_that_of_the_process():
    now, largest = resident_mb(os.getpid())
    assert 5 < now <= largest


def test_the_load_generator_has_a_core_for_itself_where_there_are_two():
    assert Cores.divide([3, 1, 2]) == Cores(server=(1, 2), generator=(3,))
    assert str(Cores.divide([0, 1])) == "server and runs in process on core 0, load generator on 1"
    assert "share core 5" in str(Cores.divide([5]))


def test_processes_that_are_started_meanwhile_keep_to_the_cores():
    before = os.sched_getaffinity(0)
    core = min(before)
    with pinned([core]):
        command = [sys.executable, "-c", "import os; print(*os.sched_getaffinity(0))"]
        assert subprocess.run(command, capture_output=True, text=True, check=True).stdout.split() == [str(core)]
    assert os.sched_getaffinity(0) == before


def test_a_bundle_without_warm_up_requests_is_refused(tmp_path):
    with pytest.raises(CommandError, match="Expected warm-up requests"):
        real_inputs(tmp_path)


def test_percentiles_are_in_milliseconds_and_of_all_latencies():
    figures = percentiles([number / 1000 for number in range(1000, 0, -1)])
    assert figures == pytest.approx(
        {"p50_ms": 501.0, "p90_ms": 901.0, "p99_ms": 991.0, "p999_ms": 1000.0, "max_ms": 1000.0}
    )


def test_percentiles_of_nothing_are_zero():
    assert set(percentiles([]).values()) == {0.0}


def test_every_way_to_send_an_image_is_timed():
    cases = {each.what.strip(): each for each in measure_parsing((1, 8, 8, 3))}
    assert len(cases) == 5
    assert all(each.parse_ms > 0 for each in cases.values())
    # 192 float32 are 768 bytes, and what names them.
    assert 0.000768 < cases["gRPC, tensor_content"].size_mb < 0.000850


@pytest.mark.slow
def test_inputs_are_the_real_ones_that_the_bundle_carries(repository, samples):
    images = real_inputs(repository / "digits" / "1")["image"]
    with np.load(samples) as arrays:
        held_out = arrays["image"]
    assert images.shape[1:] == (8, 8, 1)
    assert all((image == held_out).all(axis=(1, 2, 3)).any() for image in images)


@pytest.mark.slow
def test_a_benchmark_measures_both_engines_in_process_and_served(repository):
    options = ("--batch", 2, "--seconds", 0.1, "--connections", 2, "--json")
    report = json.loads(run_whyserve("benchmark", repository / "digits", *options).stdout)
    assert [(each["engine"], each["batch"]) for each in report["in_process"]] == [("onnxruntime", 2), ("tensorflow", 2)]
    assert all(each["ratio"]["median"] > 0 for each in report["in_process"])
    served = {(each["engine"], each["signature"], each["api"]) for each in report["served"]}
    assert served == {
        (engine, signature, api)
        for engine in ("onnxruntime", "tensorflow")
        for signature in ("predict", "explain")
        for api in ("rest", "grpc")
    }
    for each in report["served"]:
        assert each["p50_ms"] > 0
        assert 2 <= each["rows_per_run"] <= 4  # two connections with two rows each
        assert min(each["shares"]) <= each["share"] <= max(each["shares"])
        assert each["share"] == pytest.approx(each["requests_per_s"] / each["in_process_per_s"], rel=0.5)
    assert set(report["cores"]) == {"server", "generator"}
    assert {(each["engine"], each["api"]) for each in report["latency"]} == {
        (engine, api) for engine in ("onnxruntime", "tensorflow") for api in ("rest", "grpc")
    }
    assert all(0 < each["p50_ms"] <= each["p99_ms"] <= each["max_ms"] for each in report["latency"])
    assert report["start"]["first_answer_s"] > 0
    assert report["start"]["resident_mb"] > 10
    memory = report["memory"]
    assert memory["ratio"] == memory["both_mb"] / memory["predict_mb"]
    assert 10 < memory["predict_mb"] < memory["both_mb"]
    assert report["machine"]["cores"] >= 1


@pytest.mark.slow
def test_a_benchmark_is_a_table_in_the_terminal(repository):
    options = ("--engine", "onnxruntime", "--batch", 1, "--seconds", 0.1)
    shown = run_whyserve("benchmark", repository / "digits" / "1", *options).stdout
    for text in (
        "cores",
        "explain / predict",
        "per second at saturation, 8 connections",
        "load generator",
        "from start to first answer",
        "serving explanations too",
    ):
        assert text in shown
