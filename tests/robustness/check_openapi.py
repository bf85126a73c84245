"""What the OpenAPI document says holds: schemathesis makes requests from it and checks every answer against it."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.robustness.attack import FLAGS, NAME, attacked
from tests.robustness.check_versions import wait_for
from tests.serving.bundles import write_bundle
from whyserve.process import ServerProcess

TIMEOUT_S = 300
TOKEN = "t" * 24


def check_document(port, folder, *, seed, examples, arguments=()):
    """Runs every check of schemathesis, with as many examples of each operation beside its own list of cases."""
    command = [
        Path(sys.executable).parent / "schemathesis",
        "run",
        f"http://127.0.0.1:{port}/openapi.json",
        "--checks=all",
        f"--max-examples={examples}",
        f"--seed={seed}",
        # With more, Python 3.11's parser of syntax trees fails now and then: hypothesis uses it in every thread.
        "--workers=1",
        "--continue-on-failure",
        # Says that a schema is hard to draw from, as one of numbers that are no integers; nothing about the server.
        "--suppress-health-check=filter_too_much",
        *arguments,
    ]
    result = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=TIMEOUT_S, check=False)
    assert result.returncode == 0, result.stdout[-8000:]


@pytest.mark.parametrize("seed", [1, 2])
def test_schemathesis_has_no_finding(server, tmp_path, seed):
    check_document(server.rest_port, tmp_path, seed=seed, examples=12)


def test_schemathesis_has_no_finding_where_tokens_are_asked_for_and_models_may_be_changed(tmp_path):
    write_bundle(tmp_path / "models" / NAME, 1)
    tokens = tmp_path / "tokens"
    tokens.write_text(f"caller:{TOKEN} admin\n")
    tokens.chmod(0o600)
    flags = (*FLAGS, "--enable_admin_api", f"--auth_tokens_file={tokens}")
    with ServerProcess(tmp_path / "models" / NAME, NAME, log=tmp_path / "server.log", flags=flags) as process:
        wait_for(lambda: "Ready: " in process.log_tail())
        bearer = f"--header=Authorization: Bearer {TOKEN}"
        check_document(process.rest_api_port, tmp_path, seed=3, examples=5, arguments=(bearer,))
        assert process.stop() == 0
        assert "Traceback" not in (tmp_path / "server.log").read_text()


def test_schemathesis_has_no_finding_with_the_tensorflow_engine(saved_model, tmp_path):
    with attacked(saved_model, tmp_path, engine="tensorflow") as server:
        check_document(server.rest_port, tmp_path, seed=4, examples=5)
