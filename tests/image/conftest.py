import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.image import engines
from tests.image.sizes import Sizes

REPORT = pytest.StashKey[list[str]]()


def pytest_configure(config):
    config.stash[REPORT] = []


def pytest_terminal_summary(terminalreporter, config):
    if config.stash[REPORT]:
        terminalreporter.section("the image")
        terminalreporter.write_line("\n".join(config.stash[REPORT]))


@pytest.fixture(scope="session")
def report(pytestconfig):
    """Lines of the closing report."""
    return pytestconfig.stash[REPORT]


@pytest.fixture(scope="session")
def image():
    return os.environ.get("WHYSERVE_IMAGE", "whyserve:server")


@pytest.fixture(scope="session")
def repository():
    """The demo's repository: `digits`, trained on real images."""
    return Path(os.environ.get("WHYSERVE_REPOSITORY", "demo/repository")).resolve(strict=True)


@pytest.fixture(scope="session")
def bundle(repository):
    """The newest version of `digits`."""
    return max((repository / "digits").iterdir(), key=lambda version: int(version.name))


@pytest.fixture(scope="session")
def server(image, repository, report):
    """The server in its container."""
    with engines.start(image, repository) as container:
        report.append(f"{image} with {container.engine}; ready {container.start_s:.2f} s after the engine was called")
        report.append(f"memory of the server when it is ready: {memory_mb(container):.0f} MB resident")
        yield container


def memory_mb(container):
    return int(container.server_status()["VmRSS"].split()[0]) * 1024 / 1e6


@pytest.fixture(scope="session")
def sizes(server):
    return Sizes.measure(server)


@pytest.fixture(scope="session")
def digits():
    """Real images, `(1797, 8, 8, 1) float32`, and their labels."""
    from sklearn.datasets import load_digits

    data = load_digits()
    return data.images[..., np.newaxis].astype(np.float32), data.target


@pytest.fixture(scope="session")
def ask_grpc(server):
    """Asks with TensorFlow Serving's own client, in a process of its own: its stubs import TensorFlow."""

    def ask(images, signature, folder):
        np.save(folder / "images.npy", images)
        command = [sys.executable, "-m", "tests.image.grpc_client", f"127.0.0.1:{server.grpc_port}", signature, folder]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
        assert done.returncode == 0, done.stderr
        with np.load(folder / "outputs.npz") as outputs:
            return dict(outputs)

    return ask
