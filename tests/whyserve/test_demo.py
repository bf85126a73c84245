import os
import re
import signal
import subprocess
import sys

import numpy as np
import pytest

from tests.whyserve.conftest import ROOT
from whyserve.client.base import Answer, Attribution
from whyserve.demo import Asked, _difference

pytestmark = pytest.mark.slow


def start(folder, *options):
    """The demo in a process of its own, in the repository's root as `make demo` runs it."""
    command = [sys.executable, "-m", "whyserve", "demo", "--out", str(folder), *options]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def run(folder, *options, interrupt_at=None, number=signal.SIGINT):
    """The demo's status and output; with `interrupt_at` it gets a signal when it prints that."""
    with start(folder, *options) as process:
        lines = []
        for line in process.stdout:
            lines.append(line)
            if interrupt_at and interrupt_at in line:
                process.send_signal(number)
    return process.returncode, "".join(lines)


def server_is_gone(output):
    found = re.search(r"process (\d+)", output)
    assert found, output
    try:
        os.kill(int(found[1]), 0)
    except ProcessLookupError:
        return True
    return False


def test_the_demo_shows_everything_and_runs_again_and_keeps_serving_until_interrupted(tmp_path):
    folder = tmp_path / "demo"
    status, output = run(folder)
    assert status == 0, output
    for text in (
        "[1/8]",
        "[8/8]",
        "test accuracy 9",
        "REST and gRPC agree",
        "exit status 0",
        "whyserve serve",
        "curl -d",
    ):
        assert text in output
    assert len(re.findall(r"done in [0-9.]+ s", output)) == 8
    assert (folder / "explanations.png").stat().st_size > 10_000
    assert (folder / "repository" / "digits" / "1" / "manifest.json").is_file()
    assert server_is_gone(output)

    status, output = run(folder, "--keep-serving", interrupt_at="Serving until")
    assert status == 0, output
    assert (folder / "repository" / "digits" / "2" / "manifest.json").is_file()
    assert server_is_gone(output)


def test_a_low_accuracy_is_status_1(tmp_path):
    status, output = run(tmp_path / "demo", "--epochs", "1")
    assert status == 1
    assert "Expected a test accuracy of 97 % or more" in output
    assert not (tmp_path / "demo" / "repository").exists()


def test_termination_while_the_server_is_up_leaves_none_behind(tmp_path):
    _, output = run(tmp_path / "demo", interrupt_at="ONNX Runtime, process", number=signal.SIGTERM)
    assert "Done in" not in output
    assert server_is_gone(output)


def answer(probability=0.5, relevance=(1.0, -2.0)):
    attribution = Attribution(3, "3", 2.0, 0.1, {"x": np.array(relevance)})
    return Answer("m", 1, {"probabilities": np.array([[probability]])}, [[attribution]])


def test_a_difference_in_any_number_is_seen():
    same = list(Asked(answer(), answer()).arrays())
    for other in (
        Asked(answer(0.6), answer()),
        Asked(answer(), answer(0.6)),
        Asked(answer(), answer(relevance=(1, 2))),
    ):
        assert max(_difference(a, b) for a, b in zip(other.arrays(), same, strict=True)) > 0.1
    assert max(_difference(a, b) for a, b in zip(Asked(answer(), answer()).arrays(), same, strict=True)) == 0


def test_other_shapes_and_nan_never_agree():
    assert _difference(np.zeros(2), np.zeros(3)) == float("inf")
    assert not _difference(np.array([np.nan]), np.array([1.0])) <= 1
