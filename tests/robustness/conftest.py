import subprocess
import sys

import pytest

from tests.robustness.attack import NAME, attacked
from tests.serving.bundles import write_bundle


@pytest.fixture(scope="session")
def model(tmp_path_factory):
    """The folder of a small model with explanations."""
    base_path = tmp_path_factory.mktemp("models") / NAME
    write_bundle(base_path, 1)
    return base_path


@pytest.fixture(scope="session")
def saved_model(tmp_path_factory):
    """The folder of the same model as a SavedModel, without explanations."""
    base_path = tmp_path_factory.mktemp("saved_models") / NAME
    command = [sys.executable, "-m", "tests.robustness.saved_model", str(base_path / "1")]
    subprocess.run(command, check=True, capture_output=True)
    return base_path


@pytest.fixture(scope="module")
def server(model, tmp_path_factory):
    """One server for the attacks of a module: what one of them leaves behind the others feel."""
    limits = ("--max_request_bytes=4000000", "--max_inflated_bytes=4000000")
    with attacked(model, tmp_path_factory.mktemp("server"), *limits) as server:
        yield server


@pytest.fixture(autouse=True)
def unharmed(request):
    """After each attack on the module's server it is looked after."""
    yield
    if "server" in request.fixturenames:
        request.getfixturevalue("server").check_unharmed()
