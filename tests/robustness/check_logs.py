"""Logs on a full disk, and logs of a server that was killed: requests are answered, and what was written is whole."""

import json
import time
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest

from tests.robustness.attack import EXAMPLES, NAME, attacked, kill, predict_rest
from tests.robustness.check_versions import load
from whyserve.process import ServerProcess


@pytest.mark.parametrize("kind", ["jsonl", "tfrecord"])
def test_a_full_disk_costs_the_request_log_and_no_request(model, tmp_path, kind):
    full = tmp_path / f"requests.{kind}"
    full.symlink_to("/dev/full")
    with attacked(model, tmp_path, f"--request_log={full}", "--request_log_max_bytes=0") as server:
        for _ in range(50):
            predict_rest(server.rest_port)
        server.check_unharmed()
        with urlopen(f"http://127.0.0.1:{server.rest_port}/monitoring/prometheus/metrics", timeout=20) as answer:
            metrics = answer.read().decode()
    lost = [line for line in metrics.splitlines() if "log" in line and "dropped" in line and not line.startswith("#")]
    assert any(float(line.rsplit(" ", 1)[1]) >= 50 for line in lost), lost


def test_what_cannot_be_audited_is_not_explained_and_predictions_go_on(model, tmp_path):
    full = tmp_path / "audit.jsonl"
    full.symlink_to("/dev/full")
    with attacked(model, tmp_path, f"--audit_log={full}") as server:
        body = json.dumps({"instances": EXAMPLES.tolist()}).encode()
        request = Request(f"http://127.0.0.1:{server.rest_port}/v1/models/{NAME}:explain", body)
        with pytest.raises(HTTPError) as refused:
            urlopen(request, timeout=20)
        assert refused.value.code in (500, 503)
        assert "audit" in json.load(refused.value)["error"]
        server.check_unharmed()


def test_a_request_log_of_a_killed_server_can_be_read_and_is_gone_on_with(model, tmp_path):
    log = tmp_path / "requests.jsonl"
    for _ in range(2):
        flags = (f"--request_log={log}",)
        with ServerProcess(model, NAME, log=tmp_path / "server.log", flags=flags) as process:
            process.wait_until_available()
            with load(process):
                time.sleep(1.0)
                kill(process)
        lines = log.read_text().splitlines()
        whole = [line for line in lines if _is_json(line)]
        assert len(whole) > 10
        assert len(lines) - len(whole) <= 2  # the line that was being written when it was killed, each time


def _is_json(line):
    try:
        return isinstance(json.loads(line), dict)
    except json.JSONDecodeError:
        return False
