"""What an operator sees and keeps, with a real server and real files."""

import asyncio
import json
import logging
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import httpx
import numpy as np
import pytest

from serving.errors import StartError
from serving.logs.audit import digest_inputs, verify_audit_log
from serving.logs.read import read_log
from serving.observation import METRICS_PATH, read_metrics_path
from serving.options import OptionsError, ServerOptions
from serving.server import Server
from tests.serving.bundles import FEATURES, kernel_of, softmax
from tests.serving.test_server import HOST, X, ask_grpc, options, rest, run, running, wait_until_ready

__all__ = ["options"]

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
TRACED = {"traceparent": f"00-{TRACE}-{SPAN}-01", "x-request-id": "r-7"}
PREDICT, EXPLAIN = "/v1/models/dense:predict", "/v1/models/dense:explain"
ROWS = {"instances": X.tolist()}


def test_requests_are_logged_as_they_were_served(options, tmp_path):
    options = replace(options, request_log=tmp_path / "r.jsonl")

    async def test():
        async with running(options), rest(options) as client:
            await client.post(PREDICT, json=ROWS, headers=TRACED)
            await ask_grpc(options, X[:1], "explain")
            wrong = await client.post(PREDICT, json={"instances": [[1.0] * (FEATURES + 1)]})
            assert wrong.status_code == 400
            assert (await client.post(PREDICT, content=b"{")).status_code == 400

    run(test())
    first, second, third = read_log(options.request_log)
    assert (first.spec.name, first.spec.version, first.spec.signature_name) == ("dense", 1, "serving_default")
    assert (first.entrypoint, first.api, first.trace_id, first.code.name) == ("REST", "predict", TRACE, "OK")
    np.testing.assert_array_equal(first.inputs["x"], X)
    np.testing.assert_allclose(first.outputs["probabilities"], softmax(X @ kernel_of(1)), rtol=1e-5)
    assert 0 < first.latency_s < 10
    assert (second.entrypoint, second.api, second.spec.signature_name) == ("GRPC", "Predict", "explain")
    assert second.trace_id == ""
    assert "relevance" in second.outputs
    assert (third.code.name, third.outputs) == ("INVALID_ARGUMENT", {}), "what reached the model, not what was no JSON"
    assert third.inputs["x"].shape == (1, FEATURES + 1)


def test_a_log_in_tfrecord_is_the_warm_up_of_the_next_version(options, tmp_path):
    log = tmp_path / "r.tfrecord"

    async def test():
        async with running(replace(options, request_log=log)), rest(options) as client:
            await client.post(PREDICT, json=ROWS)
            await client.post(EXPLAIN, json=ROWS)
        folder = options.model_repository / "dense" / "1" / "assets.extra"
        folder.mkdir()
        (folder / "tf_serving_warmup_requests").write_bytes(log.read_bytes())
        async with running(options) as server, rest(options) as client:
            assert (await client.post(PREDICT, json=ROWS)).status_code == 200
            assert ":tensorflow:serving:model_warmup_records_read{" in server.metrics.expose().decode()

    run(test())


def test_a_full_disk_fails_no_request(options, caplog):
    async def test():
        async with running(replace(options, request_log=Path("/dev/full"))) as server, rest(options) as client:
            for _ in range(5):
                assert (await client.post(PREDICT, json=ROWS)).status_code == 200
                await asyncio.sleep(0.05)
            text = server.metrics.expose().decode()
            assert 'whyserve_log_records_total{code="UNAVAILABLE",log="request",model="dense"}' in text
            assert 'request_log_count{model_name="dense",status_code="UNAVAILABLE"}' in text

    run(test())
    assert caplog.text.count("/dev/full can't be written") == 1


@pytest.mark.parametrize("transport", ["REST", "GRPC"])
def test_explanations_are_audited_and_the_answer_stays_the_same(options, tmp_path, transport):
    options = replace(options, audit_log=tmp_path / "audit")

    async def test():
        async with running(options) as server, rest(options) as client:
            if transport == "REST":
                answer = (await client.post(EXPLAIN, json=ROWS, headers=TRACED)).json()
                assert len(answer["explanations"]) == 2
            else:
                outputs = (await ask_grpc(options, X, "explain")).outputs
                assert sorted(outputs) == [
                    "conservation_gap",
                    "explained_value",
                    "probabilities",
                    "relevance",
                    "target",
                ]
            await client.post(PREDICT, json=ROWS)
            return server.manager

    run(test())
    lines = [json.loads(line) for line in options.audit_log.read_bytes().splitlines()]
    assert len(lines) == 2, "a line for each example explained, none for predictions"
    assert verify_audit_log(options.audit_log).error == ""
    logits = X @ kernel_of(1)
    for row, line in enumerate(lines):
        assert line["target"] == logits[row].argmax()
        assert line["class_label"] == "abc"[line["target"]]
        assert line["explained_value"] == pytest.approx(logits[row].max(), rel=1e-5)
        assert line["inputs_sha256"] == digest_inputs({"x": X[row]})
        assert line["composite"] == "epsilon"
        assert len(line["manifest_sha256"]) == 64
        if transport == "REST":
            assert (line["request_id"], line["trace_id"]) == ("r-7", TRACE)


def test_outputs_that_were_filtered_out_are_audited_all_the_same(options, tmp_path):
    options = replace(options, audit_log=tmp_path / "audit")

    async def test():
        async with running(options) as server:
            from serving.types import ModelSpec

            spec = ModelSpec("dense", signature_name="explain")
            prediction = await server.data_plane.predict(spec, {"x": X}, output_filter=["relevance"])
            assert list(prediction.outputs) == ["relevance"]

    run(test())
    assert json.loads(options.audit_log.read_bytes().splitlines()[0])["explained_value"] is not None


def test_no_explanation_is_given_that_is_not_audited_and_predictions_are(options):
    async def test():
        async with running(replace(options, audit_log=Path("/dev/full"))), rest(options) as client:
            refused = await client.post(EXPLAIN, json=ROWS)
            assert refused.status_code == 503
            assert refused.json()["error"].startswith("The audit log can't be written")
            assert (await client.post(PREDICT, json=ROWS)).status_code == 200

    run(test())


def test_an_explanation_does_not_wait_for_a_slow_disk_beyond_its_deadline(options, tmp_path, monkeypatch):
    monkeypatch.setattr("serving.logs.file.os.fsync", lambda _: time.sleep(0.5))

    async def test():
        slow = replace(options, audit_log=tmp_path / "audit", rest_api_timeout_in_ms=200)
        async with running(slow), rest(options) as client:
            late = await client.post(EXPLAIN, json=ROWS)
            assert late.status_code == 504
            assert "before its explanation was in the audit log" in late.json()["error"]
            assert (await client.post(PREDICT, json=ROWS)).status_code == 200

    run(test())
    assert verify_audit_log(tmp_path / "audit").num_lines == 2, "written all the same"


def test_the_access_log_names_what_was_asked(options, caplog):
    caplog.set_level(logging.INFO, "serving.logs.access")

    async def test():
        async with running(replace(options, access_log=True)), rest(options) as client:
            await client.post(PREDICT, json=ROWS)
            await client.post("/v1/models/nope:predict", json=ROWS)
            await ask_grpc(options, X)

    run(test())
    fields = [record.fields for record in caplog.records if record.name == "serving.logs.access"]
    assert [(each["entrypoint"], each["api"], each["model"], each["version"], each["status"]) for each in fields] == [
        ("REST", "predict", "dense", 1, "OK"),
        ("REST", "predict", "nope", None, "NOT_FOUND"),
        ("GRPC", "Predict", "dense", 1, "OK"),
    ]


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("prometheus_config { enable: true }", METRICS_PATH),
        ('prometheus_config { enable: true path: "/m" }', "/m"),
        ('prometheus_config { enable: false path: "/m" }', ""),
        ("", ""),
    ],
)
def test_the_monitoring_configuration_says_where_the_metrics_are(options, tmp_path, text, path):
    file = tmp_path / "monitoring.config"
    file.write_text(text)

    async def test():
        async with running(replace(options, monitoring_config_file=file)), rest(options) as client:
            for asked in (METRICS_PATH, "/m"):
                answer = await client.get(asked)
                assert answer.status_code == (200 if asked == path else 404)
            documented = (await client.get("/openapi.json")).json()["paths"]
            assert [asked for asked in (METRICS_PATH, "/m") if asked in documented] == [path] * bool(path)

    run(test())


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("nonsense", "Invalid protobuf file: '.*'. Error parsing text-format tensorflow.serving.MonitoringConfig: 1:"),
        ('prometheus_config { enable: true path: "m" }', "must start with a slash. Received: 'm'"),
    ],
)
def test_a_monitoring_configuration_that_is_none_is_refused(tmp_path, text, message):
    file = tmp_path / "monitoring.config"
    file.write_text(text)
    with pytest.raises(StartError, match=message):
        read_metrics_path(file)
    assert read_metrics_path(None) == METRICS_PATH


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"log_format": "xml"}, "`log_format` must be one of"),
        ({"request_log_format": "csv"}, "`request_log_format` must be one of"),
        ({"request_log_sampling_rate": 1.5}, r"`request_log_sampling_rate` must lie in \[0, 1\]"),
        ({"request_log_sampling_rate": float("nan")}, r"`request_log_sampling_rate` must lie in \[0, 1\]"),
        ({"request_log_max_files": 0}, "`request_log_max_files` must be at least 1"),
        ({"num_request_iterations_for_warmup": -1}, "`num_request_iterations_for_warmup` must be at least 0"),
    ],
)
def test_options_out_of_range_are_refused(options, changes, message):
    with pytest.raises(OptionsError, match=message):
        Server(replace(options, **changes))


def test_one_file_for_both_logs_is_refused(options, tmp_path):
    with pytest.raises(OptionsError, match="`request_log` and `audit_log` must differ"):
        Server(replace(options, request_log=tmp_path / "log", audit_log=tmp_path / "log"))


def test_without_flags_nothing_stands_between_a_request_and_its_model(options: ServerOptions):
    server = Server(options)
    assert server.data_plane._recorder is None
    assert server.metrics.listeners == []
    assert server._execution.observe_batch is None


def test_a_client_that_leaves_does_not_disturb_the_logs(options, tmp_path):
    options = replace(options, request_log=tmp_path / "r.jsonl", audit_log=tmp_path / "audit")

    async def test():
        async with running(options), rest(options) as client:
            with pytest.raises(httpx.TimeoutException):
                await client.post(EXPLAIN, json=ROWS, timeout=1e-4)
            assert (await client.post(EXPLAIN, json=ROWS)).status_code == 200

    run(test())
    assert verify_audit_log(options.audit_log).error == ""


def test_a_models_logging_config_gives_it_a_log_of_its_own(options, tmp_path):
    config = tmp_path / "models.config"
    config.write_text(
        f"""model_config_list {{ config {{
            name: "dense" base_path: "{options.model_repository / "dense"}" model_platform: "tensorflow"
            logging_config {{
              log_collector_config {{ filename_prefix: "{tmp_path / "dense"}" }}
              sampling_config {{ sampling_rate: 1.0 }} }} }} }}"""
    )

    async def test():
        async with (
            running(replace(options, model_repository=None, model_config_file=config)),
            rest(options) as client,
        ):
            assert (await client.post(PREDICT, json=ROWS)).status_code == 200

    run(test())
    (record,) = read_log(tmp_path / "dense.tfrecord")
    np.testing.assert_array_equal(record.inputs["x"], X)


def test_the_logs_name_the_token_that_was_shown(options, tmp_path):
    (tmp_path / "tokens").write_text("shop:0123456789abcdef0123456789abcdef\n")
    options = replace(
        options, auth_tokens_file=tmp_path / "tokens", request_log=tmp_path / "r", audit_log=tmp_path / "audit"
    )

    async def test():
        async with running(options), rest(options) as client:
            client.headers["authorization"] = "Bearer 0123456789abcdef0123456789abcdef"
            assert (await client.post(EXPLAIN, json=ROWS)).status_code == 200

    run(test())
    assert next(read_log(options.request_log)).client == "shop"
    assert json.loads(options.audit_log.read_bytes().splitlines()[0])["client"] == "shop"


@pytest.mark.slow
def test_logs_survive_the_death_of_the_server(options, tmp_path):
    """`kill -9` while answers go out: what was answered is in the logs, whole, and the next server goes on."""
    log, audit = tmp_path / "r.tfrecord", tmp_path / "audit"
    command = [sys.executable, "-m", "whyserve", "serve", f"--model_repository={options.model_repository}"]
    command += [f"--port={options.port}", f"--rest_api_port={options.rest_api_port}", f"--host={HOST}"]
    answered = 0
    for _ in range(2):
        with subprocess.Popen([*command, f"--request_log={log}", f"--audit_log={audit}"]) as server:
            with httpx.Client(base_url=f"http://{HOST}:{options.rest_api_port}") as client:
                wait_until_ready(str(client.base_url), server)
                for _ in range(30):
                    answered += client.post(EXPLAIN, json=ROWS).status_code == 200
            server.kill()
    report = verify_audit_log(audit)
    assert (report.error, report.num_lines) == ("", 2 * answered)
    asyncio.run(_restart(replace(options, request_log=log, audit_log=audit)))
    assert 0 < len(list(read_log(log))) <= answered
    assert verify_audit_log(audit).num_lines == 2 * answered


async def _restart(options: ServerOptions) -> None:
    async with running(options):
        pass
