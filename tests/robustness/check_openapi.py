"""What the OpenAPI document says holds: schemathesis makes requests from it and checks every answer against it."""

import subprocess
import sys
from pathlib import Path

import pytest

SECONDS = 150


@pytest.mark.parametrize("seed", [1, 2])
def test_schemathesis_has_no_finding(server, tmp_path, seed):
    command = [
        Path(sys.executable).parent / "schemathesis",
        "run",
        f"http://127.0.0.1:{server.rest_port}/openapi.json",
        "--checks=all",
        "--max-examples=15",
        f"--seed={seed}",
        "--workers=2",
        "--continue-on-failure",
    ]
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=SECONDS * 2, check=False)
    assert result.returncode == 0, result.stdout[-8000:]
