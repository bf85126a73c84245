import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.whyserve.conftest import ROOT
from whyserve.coverage.results import Result, load_result, save_result
from whyserve.coverage.runner import Coverage

REGISTRY = "tests.whyserve.coverage.models:REGISTRY"


def coverage(folder, *models, said=None, **options):
    return Coverage(models, folder, (said if said is not None else []).append, registry=REGISTRY, **options)


def passed(model):
    return Result(model, "passed", seconds=1.0, peak_memory_gb=0.1)


def failed(model):
    return Result(model, "failed", reason="no", seconds=1.0, peak_memory_gb=0.1)


def test_models_with_a_result_are_not_checked_again(tmp_path):
    save_result(tmp_path, passed("small"))
    save_result(tmp_path, failed("killed"))
    said = []
    results = coverage(tmp_path, "small", "killed", said=said).run()
    assert results == [passed("small"), failed("killed")]
    assert said == [f"-- 2 of 2 models have a result in {tmp_path} (--again to redo)"]


@pytest.mark.slow
def test_a_killed_process_is_a_row_with_its_reason_and_the_next_one_runs(tmp_path):
    said = []
    killed, broken = coverage(tmp_path, "killed", "broken", said=said).run()
    assert (killed.status, killed.stage) == ("failed", "building")
    assert killed.reason == "the process was ended by SIGKILL (out of memory?) while building"
    assert broken.status == "failed"
    assert broken.reason.endswith("RuntimeError: the constructor gave up while building")
    assert broken.reason.startswith("the process ended with status 1: ")
    assert 0.1 < killed.peak_memory_gb < 4
    assert killed.machine
    assert "tensorflow" in killed.packages
    assert said[0] == "-- 1/2 killed"
    assert said[2] == "-- 2/2 broken"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("options", "reason"),
    [({"max_memory_gb": 1.5}, "took more than 1.5 GB of memory"), ({"timeout_s": 1.0}, "took longer than 1 s")],
)
def test_a_process_that_takes_too_much_is_ended(tmp_path, options, reason):
    (result,) = coverage(tmp_path, "greedy", **options).run()
    assert result.status == "failed"
    assert result.reason.startswith(reason)
    assert result.seconds < 50


@pytest.mark.slow
def test_failed_models_are_checked_again_when_asked_and_interrupted_ones_always(tmp_path):
    save_result(tmp_path, failed("broken"))
    save_result(tmp_path, Result("killed"))
    save_result(tmp_path, passed("small"))
    broken, killed, small = coverage(tmp_path, "broken", "killed", "small").run(again_failed=True)
    assert "the constructor gave up" in broken.reason
    assert "SIGKILL" in killed.reason
    assert small == passed("small")
    assert load_result(tmp_path, "broken") == broken
    (small,) = coverage(tmp_path, "small", timeout_s=1.0).run(again=True)
    assert small.reason.startswith("took longer than 1 s")


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_an_interrupted_run_leaves_no_process_behind_and_no_result(tmp_path, number):
    code = (
        "from pathlib import Path; from whyserve.coverage.runner import Coverage; "
        f"Coverage(['greedy'], Path({str(tmp_path)!r}), print, registry={REGISTRY!r}).run()"
    )
    process = subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, stderr=subprocess.PIPE)
    (child,) = wait_for(lambda: Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split())
    process.send_signal(number)
    _, errors = process.communicate(timeout=30)
    assert b"KeyboardInterrupt" in errors
    assert not Path(f"/proc/{child}").exists()
    assert load_result(tmp_path, "greedy") is None


def wait_for(condition, *, seconds=30):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if found := condition():
            return found
        time.sleep(0.05)
    raise TimeoutError
