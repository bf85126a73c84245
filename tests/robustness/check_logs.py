"""Logs on a full disk, and logs of a server that was killed: requests are answered, and what was written is whole."""

import json
import re
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPException
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest

from tests.robustness.attack import EXAMPLES, FLAGS, NAME, attacked, kill, predict_rest, scrape
from tests.robustness.check_versions import load, wait_for
from whyserve.process import ServerProcess

_RECORDS = re.compile(r'whyserve_log_records_total\{(?=[^}]*code="(?P<code>\w+)")[^}]*\} (?P<count>\S+)')


def lost_records(port):
    """How many records could not be written."""
    return sum(float(found["count"]) for found in _RECORDS.finditer(scrape(port)) if found["code"] != "OK")


@pytest.mark.parametrize("kind", ["jsonl", "tfrecord"])
def test_a_full_disk_costs_the_request_log_and_no_request(model, tmp_path, kind):
    full = tmp_path / f"requests.{kind}"
    full.symlink_to("/dev/full")
    with attacked(model, tmp_path, f"--request_log={full}", "--request_log_max_bytes=0") as server:
        for _ in range(50):
            predict_rest(server.rest_port)
        wait_for(lambda: lost_records(server.rest_port) >= 50)
        server.check_unharmed()


def explain(port):
    body = json.dumps({"instances": EXAMPLES.tolist()}).encode()
    with urlopen(Request(f"http://127.0.0.1:{port}/v1/models/{NAME}:explain", body), timeout=20) as answer:
        return json.load(answer)["explanations"]


def test_what_cannot_be_audited_is_not_explained_and_predictions_go_on(model, tmp_path):
    full = tmp_path / "audit.jsonl"
    full.symlink_to("/dev/full")
    with attacked(model, tmp_path, f"--audit_log={full}") as server:
        with pytest.raises(HTTPError) as refused:
            explain(server.rest_port)
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


def test_an_audit_log_of_a_killed_server_holds_every_explanation_given_and_its_chain_goes_on(model, tmp_path):
    log = tmp_path / "audit.jsonl"
    given = 0
    for _ in range(3):
        with ServerProcess(model, NAME, log=tmp_path / "server.log", flags=(*FLAGS, f"--audit_log={log}")) as process:
            process.wait_until_available()
            given += _explain_until_killed(process)
        found = verify(log)
        # A last line may be torn; what was given is in the log before it is given, so only more can be there.
        assert found["error"] in ("", f"Line {found['num_lines'] + 1} is cut off.")
        assert found["num_lines"] >= given * len(EXAMPLES) > 0
    assert found["num_lines"] < given * len(EXAMPLES) + 3 * 8 * len(EXAMPLES)  # those on their way, each time


def test_the_torn_line_of_an_audit_log_is_told_exactly_and_cut_off_by_the_next_server(model, tmp_path):
    log = tmp_path / "audit.jsonl"
    flag = f"--audit_log={log}"
    with attacked(model, tmp_path, flag) as server:
        for _ in range(5):
            explain(server.rest_port)
    whole = log.read_bytes()
    log.write_bytes(whole[:-40])  # as power that fails leaves it
    torn = verify(log)
    assert torn["error"] == f"Line {5 * len(EXAMPLES)} is cut off."
    assert torn["num_lines"] == 5 * len(EXAMPLES) - 1
    with attacked(model, tmp_path, flag) as server:
        explain(server.rest_port)
    mended = verify(log)
    assert mended["error"] == ""
    assert mended["num_lines"] == 6 * len(EXAMPLES) - 1
    assert log.read_bytes().startswith(b"".join(whole.splitlines(keepends=True)[:-1]))


def verify(log):
    """What `whyserve log` tells of an audit log."""
    command = [sys.executable, "-m", "whyserve", "log", str(log), "--json"]
    result = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    report = json.loads(result.stdout)
    assert result.returncode == (1 if report["error"] else 0)
    return report


def _explain_until_killed(process):
    """How many explanations were given before the server was killed."""

    def explain_on(_):
        count = 0
        try:
            while True:
                explain(process.rest_api_port)
                count += 1
        except (OSError, HTTPException, ValueError):  # also in the middle of an answer
            return count

    with ThreadPoolExecutor(8) as threads:
        counts = threads.map(explain_on, range(8))
        time.sleep(0.6)
        kill(process)
        return sum(counts)


def _is_json(line):
    try:
        return isinstance(json.loads(line), dict)
    except json.JSONDecodeError:
        return False
