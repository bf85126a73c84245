import csv
import json

import numpy as np
import pytest

from serving.logs.records import to_json_line
from serving.tfrecord import read_records
from tests.serving.logs.test_audit import explained, write
from tests.serving.logs.test_read import record
from whyserve.cli import main


@pytest.fixture
def log(tmp_path):
    path = tmp_path / "requests.jsonl"
    path.write_bytes(b"".join(map(to_json_line, [record(1), record(2), record(3, signature="explain")])))
    return path


def test_requests_are_counted(log, capsys):
    assert main(["log", str(log), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["requests"] == [
        {"model": "m", "version": 1, "signature": "explain", "status": "OK", "requests": 1},
        {"model": "m", "version": 1, "signature": "s", "status": "OK", "requests": 2},
    ]
    assert main(["log", str(log)]) == 0
    assert "explain" in capsys.readouterr().out


def test_requests_become_warm_up_records(log, tmp_path, capsys):
    assert main(["log", str(log), "--to", "warmup", "--out", str(tmp_path / "w")]) == 0
    assert "2 records" in capsys.readouterr().out
    assert len(list(read_records(tmp_path / "w"))) == 2


def test_requests_become_arrays(log, tmp_path):
    out = tmp_path / "data"
    assert main(["log", str(log), "--to", "npz", "--signature", "s", "--out", str(out)]) == 0
    arrays = np.load(out, allow_pickle=False)
    assert arrays["inputs/x"].tolist() == [[1, 1], [2, 2]]
    assert arrays["inputs/t"].tolist() == [b"a", b"a"]


def test_requests_become_a_table(log, tmp_path):
    out = tmp_path / "data.csv"
    assert main(["log", str(log), "--to", "csv", "--signature", "s", "--out", str(out)]) == 0
    with out.open(newline="") as file:
        assert list(csv.reader(file)) == [
            ["version", "inputs/x[0]", "inputs/x[1]", "inputs/t", "outputs/y[0]"],
            ["1", "1.0", "1.0", "a", "0.1"],
            ["1", "2.0", "2.0", "a", "0.2"],
        ]


def test_an_audit_log_is_verified(tmp_path, capsys):
    path = tmp_path / "audit"
    write(path, explained(), explained())
    assert main(["log", str(path), "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert (report["intact"], report["num_lines"], len(report["last_digest"])) == (True, 4, 64)
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines[1:]))
    assert main(["log", str(path)]) == 1
    assert "Line 1 must follow the line with digest" in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [["--to", "csv"], ["--out", "x"]])
def test_format_and_file_go_together(log, arguments, capsys):
    assert main(["log", str(log), *arguments]) == 2
    assert "--to and --out go together" in capsys.readouterr().err


def test_an_audit_log_is_not_converted(tmp_path, capsys):
    write(tmp_path / "audit", explained())
    assert main(["log", str(tmp_path / "audit"), "--to", "csv", "--out", "x"]) == 2
    assert "can be verified, not converted" in capsys.readouterr().err


def test_what_is_no_log_is_an_error(tmp_path, capsys):
    assert main(["log", str(tmp_path / "missing")]) == 1
    assert "which doesn't exist" in capsys.readouterr().err
