import asyncio
import errno
import hashlib
import json
from pathlib import Path

import numpy as np
import orjson
import pytest

from serving.errors import Code, ServingError, StartError
from serving.logs.audit import (
    GENESIS,
    AuditLog,
    Explained,
    digest_inputs,
    is_audit_log,
    verify_audit_log,
)
from serving.types import Explanation, ModelSpec
from tests.serving.logs.test_file import at_most

X = np.array([[1.5, -2.0], [0.0, 3.0]], np.float32)
COUNTED: list[tuple[str, Code]] = []


@pytest.fixture(autouse=True)
def counted():
    COUNTED.clear()
    return COUNTED


def explained(**changes) -> Explained:
    fields = {
        "spec": ModelSpec("m", 2, None, "explain"),
        "explanation": Explanation("probabilities", {"x": "relevance"}, ("no", "yes"), "epsilon_plus"),
        "manifest_digest": "ab" * 32,
        "inputs": {"x": X},
        "outputs": {
            "relevance": X * 2,
            "target": np.array([1, 0], np.int32),
            "explained_value": np.array([0.5, 2.25], np.float32),
            "conservation_gap": np.array([0.0, -0.125], np.float32),
        },
        "time_s": 1_700_000_000.0,
        "request_id": "r-1",
        "trace_id": "t-1",
        "client": "shop",
    }
    return Explained(**(fields | changes))


def write(path: Path, *entries: Explained, relevance: bool = False) -> None:
    async def test() -> None:
        log = AuditLog(path, relevance=relevance, count=lambda model, code: COUNTED.append((model, code)))
        try:
            await asyncio.gather(*map(log.write, entries))
        finally:
            await asyncio.to_thread(log.close)

    asyncio.run(asyncio.wait_for(test(), 20))


def lines_of(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_bytes().splitlines()]


def test_each_example_has_a_line(tmp_path):
    path = tmp_path / "audit"
    write(path, explained())
    first, second = lines_of(path)
    assert first == {
        "time": "2023-11-14T22:13:20.000000+00:00",
        "request_id": "r-1",
        "trace_id": "t-1",
        "client": "shop",
        "model": "m",
        "version": 2,
        "signature": "explain",
        "manifest_sha256": "ab" * 32,
        "composite": "epsilon_plus",
        "target": 1,
        "class_label": "yes",
        "explained_value": 0.5,
        "conservation_gap": 0.0,
        # name, dtype and shape, then 1.5 and -2.0 as little-endian float32.
        "inputs_sha256": hashlib.sha256(b"x\0float32\0[2]\0" + bytes.fromhex("0000c03f000000c0")).hexdigest(),
        "previous": GENESIS,
    }
    assert (second["target"], second["class_label"], second["explained_value"]) == (0, "no", 2.25)
    assert second["conservation_gap"] == -0.125
    assert second["previous"] == hashlib.sha256(path.read_bytes().splitlines()[0]).hexdigest()
    assert COUNTED == [("m", Code.OK)]


def test_relevance_is_written_on_request(tmp_path):
    write(tmp_path / "audit", explained(), relevance=True)
    relevance = lines_of(tmp_path / "audit")[1]["relevance"]
    assert relevance == {"relevance": {"dtype": "float32", "shape": [2], "data": [0.0, 6.0]}}


def test_what_a_signature_does_not_compute_is_null(tmp_path):
    write(tmp_path / "audit", explained(outputs={"relevance": X}))
    line = lines_of(tmp_path / "audit")[0]
    assert [line[name] for name in ("target", "class_label", "explained_value", "conservation_gap")] == [None] * 4


def test_the_digest_of_an_example_tells_apart_what_differs():
    examples = [
        {"x": X[0]},
        {"x": X[1]},
        {"y": X[0]},
        {"x": X[0].astype(np.float64)},
        {"x": X[0][None]},
        {"x": np.array([b"ab", b"c"], object)},
        {"x": np.array([b"a", b"bc"], object)},
    ]
    assert len({digest_inputs(each) for each in examples}) == len(examples)
    assert digest_inputs({"x": X[0], "target": np.int32(1)}) == digest_inputs({"x": X[0]})
    assert digest_inputs({"a": X[0], "b": X[1]}) == digest_inputs({"b": X[1], "a": X[0]})
    assert digest_inputs({"x": X[:, 0]}) == digest_inputs({"x": X[:, 0].copy()}), "strides are no matter"


def test_a_chain_goes_on_after_a_restart_and_is_intact(tmp_path):
    path = tmp_path / "audit"
    write(path, *[explained(request_id=str(number)) for number in range(20)])
    write(path, explained(request_id="later"))
    report = verify_audit_log(path)
    assert (report.num_lines, report.error) == (42, "")
    assert report.last_digest == hashlib.sha256(path.read_bytes().splitlines()[-1]).hexdigest()
    assert is_audit_log(path)


def _remove(lines: list[bytes]) -> None:
    del lines[2]


def _change(lines: list[bytes]) -> None:
    lines[2] = lines[2].replace(b'"target":1', b'"target":0')


def _swap(lines: list[bytes]) -> None:
    lines[2], lines[3] = lines[3], lines[2]


def _forge(lines: list[bytes]) -> None:
    lines.insert(3, orjson.dumps({"previous": hashlib.sha256(lines[2]).hexdigest()}))


def _remove_first(lines: list[bytes]) -> None:
    del lines[0]


def _spoil(lines: list[bytes]) -> None:
    lines[3] = b"not json"


@pytest.mark.parametrize(
    ("tamper", "intact", "message"),
    [
        (_remove, 2, "Line 3 must follow the line with digest"),
        (_change, 3, "Line 4 must follow the line with digest"),
        (_swap, 2, "Line 3 must follow"),
        (_forge, 4, "Line 5 must follow"),
        (_remove_first, 0, f"Line 1 must follow the line with digest {GENESIS}"),
        (_spoil, 3, "Line 4 is no line of an audit log"),
    ],
)
def test_tampering_shows(tmp_path, tamper, intact, message):
    path = tmp_path / "audit"
    write(path, *[explained(request_id=str(number)) for number in range(4)])
    lines = path.read_bytes().splitlines()
    tamper(lines)
    path.write_bytes(b"\n".join(lines) + b"\n")
    report = verify_audit_log(path)
    assert report.num_lines == intact
    assert report.error.startswith(message)


def test_a_line_that_a_killed_server_left_unfinished_is_cut_off(tmp_path):
    path = tmp_path / "audit"
    write(path, explained())
    whole = path.read_bytes()
    path.write_bytes(whole + b'{"time":')
    assert verify_audit_log(path).error == "Line 3 is cut off."
    write(path, explained())
    assert path.read_bytes().startswith(whole)
    assert verify_audit_log(path).num_lines == 4


def test_nothing_is_explained_that_cannot_be_written_down(tmp_path, caplog):
    path = tmp_path / "audit"

    async def test() -> None:
        log = AuditLog(path, relevance=False, count=lambda model, code: COUNTED.append((model, code)))
        await log.write(explained())
        with at_most(path.stat().st_size + 10):
            for _ in range(2):
                with pytest.raises(ServingError, match=r"no explanation is given\. Predictions are") as raised:
                    await log.write(explained())
                assert raised.value.code == Code.UNAVAILABLE
        await log.write(explained(request_id="again"))
        await asyncio.to_thread(log.close)

    asyncio.run(asyncio.wait_for(test(), 20))
    report = verify_audit_log(path)
    assert (report.num_lines, report.error) == (4, "")
    assert [code for _, code in COUNTED] == [Code.OK, Code.UNAVAILABLE, Code.UNAVAILABLE, Code.OK]
    assert caplog.text.count("nothing is explained until it can") == 1


def test_a_line_that_may_not_be_on_the_disk_is_taken_back(tmp_path, monkeypatch):
    path = tmp_path / "audit"

    def fail(_descriptor: int) -> None:
        raise OSError(errno.EIO, "Input/output error")

    async def test() -> None:
        log = AuditLog(path, relevance=False, count=lambda model, code: COUNTED.append((model, code)))
        await log.write(explained())
        with monkeypatch.context() as patched:
            patched.setattr("serving.logs.file.os.fsync", fail)
            with pytest.raises(ServingError, match="no explanation is given"):
                await log.write(explained())
        await log.write(explained())
        await asyncio.to_thread(log.close)

    asyncio.run(asyncio.wait_for(test(), 20))
    report = verify_audit_log(path)
    assert (report.num_lines, report.error) == (4, "")


def test_a_file_that_cannot_be_written_is_an_error_at_the_start(tmp_path):
    with pytest.raises(StartError, match="`audit_log` must be a file that can be written"):
        AuditLog(tmp_path / "missing" / "audit", relevance=False, count=lambda *_: None)


@pytest.mark.parametrize("content", [b"", b'{"model":"m"}\n', b"\x00\x01binary", b"[1]\n"])
def test_other_files_are_no_audit_log(tmp_path, content):
    path = tmp_path / "other"
    path.write_bytes(content)
    assert not is_audit_log(path)
    assert not is_audit_log(tmp_path / "missing")
