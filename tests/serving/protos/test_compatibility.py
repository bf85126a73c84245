import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[3]
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def comparison() -> dict[str, Any]:
    """What `compare.py` found, in a process that holds TensorFlow's protos and ours."""
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": "", "TF_CPP_MIN_LOG_LEVEL": "3"}
    done = subprocess.run(
        [sys.executable, "-m", "tests.serving.protos.compare"],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_every_message_enum_and_service_equals_that_of_tensorflow_serving_api(comparison: dict[str, Any]) -> None:
    assert comparison["messages"] > 80
    assert comparison["differences"] == []


def test_both_live_in_one_process_and_understand_each_other(comparison: dict[str, Any]) -> None:
    assert comparison["separate"]
    assert comparison["exchange"] == []


def test_odd_tensors_are_decoded_as_tensorflow_decodes_them(comparison: dict[str, Any]) -> None:
    assert comparison["odd_tensors"] > 1000
    assert comparison["decode"] == []
