import numpy as np
import pytest

from serving.config.models import RequestLogging
from serving.errors import Code, StartError
from serving.logs.records import Record, from_json_line, from_prediction_log, to_json_line, to_prediction_log
from serving.logs.requests import RequestLog, RequestLogOptions, format_of
from serving.metrics import Metrics
from serving.tfrecord import read_records
from serving.types import ModelSpec
from tests.serving.test_metrics import value

X = np.array([[0.1, 2]], np.float32)


def record(model: str = "m", **changes) -> Record:
    fields = {
        "spec": ModelSpec(model, 3, None, "serving_default"),
        "inputs": {"x": X, "s": np.array([b"a"], object)},
        "outputs": {"y": X * 2},
        "time_s": 1_700_000_000.25,
        "latency_s": 0.0015,
        "entrypoint": "REST",
        "api": "predict",
        "client": "shop",
        "trace_id": "4bf92f3577b34da6a3ce929d0e0e4736",
        "sampling_rate": 0.5,
    }
    return Record(**(fields | changes))


def assert_same(first: Record, second: Record) -> None:
    for name in ("inputs", "outputs"):
        ours, theirs = getattr(first, name), getattr(second, name)
        assert ours.keys() == theirs.keys()
        for key in ours:
            np.testing.assert_array_equal(ours[key], theirs[key])
            assert ours[key].dtype == theirs[key].dtype


def test_a_json_line_holds_everything():
    failed = record(code=Code.INTERNAL, error="it \ud800 broke", outputs={})
    for each in (record(), failed):
        back = from_json_line(to_json_line(each))
        assert_same(back, each)
        for name in ("spec", "time_s", "latency_s", "code", "entrypoint", "api", "client", "trace_id", "sampling_rate"):
            assert getattr(back, name) == getattr(each, name)
    assert from_json_line(to_json_line(failed)).error == "it ? broke"


def test_a_prediction_log_holds_what_can_be_replayed():
    back = from_prediction_log(to_prediction_log(record()))
    assert_same(back, record())
    assert (back.spec, back.time_s, back.entrypoint) == (record().spec, 1_700_000_000.0, "REST")
    assert back.sampling_rate == 0.5


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("r.jsonl", "jsonl"),
        ("r", "jsonl"),
        ("r.tfrecord", "tfrecord"),
        ("r.tfrecords.2", "tfrecord"),
        ("r.tfrecord.jsonl", "jsonl"),
    ],
)
def test_the_suffix_names_the_format(tmp_path, name, expected):
    assert format_of(tmp_path / name) == expected


def test_a_share_of_the_requests_is_logged(tmp_path):
    log = RequestLog(RequestLogOptions(tmp_path / "r.jsonl", sampling_rate=0.25), Metrics())
    log._random.seed(1)
    rates = [log.samples("m") for _ in range(4000)]
    log.close()
    assert set(rates) == {0.0, 0.25}
    # Binomial: 1000 expected, standard deviation sqrt(4000 * 0.25 * 0.75) = 27.
    assert 890 < sum(rate > 0 for rate in rates) < 1110


def test_a_models_own_configuration_comes_first(tmp_path):
    configs = {
        "never": RequestLogging("", "", 0.0),
        "always": RequestLogging("", "", 1.0),
        "own": RequestLogging("", str(tmp_path / "own"), 1.0),
        "lines": RequestLogging("jsonl", str(tmp_path / "lines"), 1.0),
    }
    metrics = Metrics()
    log = RequestLog(RequestLogOptions(tmp_path / "all.jsonl", sampling_rate=0.0), metrics, config_of=configs.get)
    assert [log.samples(name) for name in ("other", "never", "always", "own")] == [0.0, 0.0, 1.0, 1.0]
    for name in ("always", "own", "lines"):
        log.put(record(name))
    log.close()
    assert from_json_line((tmp_path / "all.jsonl").read_bytes()).spec.name == "always"
    assert from_prediction_log(next(read_records(tmp_path / "own.tfrecord"))).spec.name == "own"
    assert from_json_line((tmp_path / "lines.jsonl").read_bytes()).spec.name == "lines"
    assert value(metrics, ":tensorflow:serving:request_log_count", model_name="own", status_code="OK") == 1


def test_without_a_log_only_models_with_one_of_their_own_are_logged(tmp_path):
    configs = {"own": RequestLogging("", str(tmp_path / "own"), 1.0), "nowhere": RequestLogging("", "", 1.0)}
    log = RequestLog(RequestLogOptions(), Metrics(), config_of=configs.get)
    assert [log.samples(name) for name in ("own", "nowhere", "other")] == [1.0, 0.0, 0.0]
    log.close()


def test_a_log_to_be_replayed_holds_only_what_succeeded(tmp_path):
    path = tmp_path / "r.tfrecord"
    log = RequestLog(RequestLogOptions(path), Metrics())
    log.put(record())
    log.put(record(code=Code.INVALID_ARGUMENT, outputs={}))
    log.close()
    assert len(list(read_records(path))) == 1


def test_a_log_that_cannot_be_written_is_an_error_at_the_start(tmp_path):
    with pytest.raises(StartError, match="`request_log` must be a file that can be written, in a folder that exists"):
        RequestLog(RequestLogOptions(tmp_path / "missing" / "r.jsonl"), Metrics())


def test_a_models_own_log_that_cannot_be_written_is_counted(tmp_path):
    metrics = Metrics()
    config = RequestLogging("", str(tmp_path / "missing" / "own"), 1.0)
    log = RequestLog(RequestLogOptions(), metrics, config_of=lambda _: config)
    log.put(record())
    log.close()
    assert value(metrics, "whyserve_log_records_total", log="request", code="UNAVAILABLE") == 1
