"""Version folders that are half there or damaged, under load: nothing of them is ever served."""

import json
import shutil
import subprocess
import sys
import time
from contextlib import contextmanager
from dataclasses import asdict

import numpy as np
import pytest

from tests.robustness.attack import NAME, NOTICED, attacked, kill, predict_rest
from tests.serving.bundles import kernel_of, softmax, write_bundle
from whyserve.benchmark.generator import make_plan, rest_plan
from whyserve.benchmark.load import Plan
from whyserve.process import ServerProcess


@contextmanager
def load(server, connections=8):
    """Steady load until the server isn't ready any more; gives a function that waits for the figures."""
    plan: Plan = make_plan(
        rest_plan(server, "serving_default", {"x": np.ones((1, 4), np.float32)}), connections=connections
    )
    with subprocess.Popen(
        [sys.executable, "-m", "whyserve.benchmark.steady"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        json.dump({"plans": [asdict(plan)], "ready_port": server.rest_api_port}, process.stdin)
        process.stdin.close()
        process.stdin = None
        try:
            yield lambda: json.loads(process.communicate(timeout=60)[0])["rest"]
        finally:
            process.kill()


def wait_for(condition, timeout_s=20.0):
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "it did not come about in time"
        time.sleep(0.05)


def answered_by(port, version):
    return np.allclose(predict_rest(port), softmax(_examples() @ kernel_of(version)), rtol=1e-5)


def _examples():
    from tests.robustness.attack import EXAMPLES

    return EXAMPLES


@pytest.fixture
def base_path(tmp_path):
    write_bundle(tmp_path / NAME, 1)
    return tmp_path / NAME


def damage_manifest(folder):
    (folder / "manifest.json").write_text("{")


def remove_file(folder):
    (folder / "explain.onnx").unlink()


def cut_file(folder):
    path = folder / "predict.onnx"
    path.write_bytes(path.read_bytes()[:-7])


def flip_bit(folder):
    path = folder / "predict.onnx"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def empty(folder):
    shutil.rmtree(folder)
    folder.mkdir()


@pytest.mark.parametrize("damage", [damage_manifest, remove_file, cut_file, flip_bit, empty])
def test_a_damaged_version_is_never_served_and_the_good_one_stays(base_path, tmp_path, damage):
    write_bundle(tmp_path / "elsewhere", 2)
    damage(tmp_path / "elsewhere" / "2")
    with attacked(base_path, tmp_path) as server:
        shutil.move(tmp_path / "elsewhere" / "2", base_path / "2")
        for _ in range(15):
            server.check_answers(version=1)
            time.sleep(0.05)
        server.check_unharmed(version=1)


def test_a_version_that_is_copied_slowly_is_served_when_it_is_whole(base_path, tmp_path):
    source = write_bundle(tmp_path / "elsewhere", 2)
    with attacked(base_path, tmp_path, NOTICED) as server, load(server.process) as figures:
        target = base_path / "2"
        target.mkdir()
        for path in sorted(source.iterdir(), reverse=True):  # predict.onnx first, the manifest before explain.onnx
            content = path.read_bytes()
            with (target / path.name).open("wb") as file:
                for start in range(0, len(content), max(1, len(content) // 5)):
                    assert answered_by(server.rest_port, 1)
                    file.write(content[start : start + max(1, len(content) // 5)])
                    file.flush()
                    time.sleep(0.05)
        wait_for(lambda: answered_by(server.rest_port, 2))
        server.process.stop()
        assert figures()["failed"] == 0


def test_versions_that_come_go_and_break_all_the_time_cost_no_request(base_path, tmp_path):
    with attacked(base_path, tmp_path, NOTICED) as server, load(server.process) as figures:
        for version in range(2, 12):
            folder = write_bundle(tmp_path / "elsewhere", version)
            if version % 3 == 0:
                cut_file(folder)
            shutil.move(folder, base_path / str(version))
            time.sleep(0.3)
            if version % 3 == 2:
                shutil.rmtree(base_path / str(version - 2), ignore_errors=True)
        wait_for(lambda: answered_by(server.rest_port, 11))
        server.check_unharmed(version=11)
        server.process.stop()
        assert figures()["failed"] == 0


def test_a_server_that_is_killed_under_load_serves_again_at_once(base_path, tmp_path):
    for _ in range(3):
        with ServerProcess(base_path, NAME, log=tmp_path / "server.log") as process:
            process.wait_until_available()
            with load(process) as figures:
                time.sleep(0.5)
                kill(process)
                assert figures()["answered"] > 0
        write_bundle(tmp_path / "elsewhere", 2)
        with attacked(base_path, tmp_path) as server:
            server.check_unharmed(version=1)
        shutil.rmtree(tmp_path / "elsewhere")
