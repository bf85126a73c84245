import signal
import subprocess
import sys
from pathlib import Path

import pytest

from whyserve.process import ServerProcess

ROOT = Path(__file__).parents[2]


def run_whyserve(*arguments, status=0, cwd=ROOT):
    """Runs the command in a process of its own; TensorFlow stays out of the tests' process."""
    command = [sys.executable, "-m", "whyserve", *map(str, arguments)]
    result = subprocess.run(command, capture_output=True, text=True, check=False, cwd=cwd)
    assert result.returncode == status, result.stderr[-3000:]
    return result


@pytest.fixture(scope="session", autouse=True)
def interruptible():
    """Lets processes that the tests start be interrupted: what a shell runs in the background ignores SIGINT."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def run_folder(tmp_path_factory):
    """A small network trained on the real digits by the command line."""
    folder = tmp_path_factory.mktemp("run") / "digits"
    options = ("--epochs", 3, "--option", "units=[32]", "--out", folder, "--json")
    run_whyserve("train", "mlp", "--data", "digits", *options)
    return folder


@pytest.fixture(scope="session")
def repository(run_folder, tmp_path_factory):
    """A repository with that network, exported by the command line: `digits/1`."""
    folder = tmp_path_factory.mktemp("repository")
    run_whyserve("export", run_folder, "--repository", folder, "--name", "digits", "--relevance-at", "dense1_relu")
    return folder


@pytest.fixture(scope="session")
def server(repository, tmp_path_factory):
    """A real server process on that repository."""
    log = tmp_path_factory.mktemp("server") / "server.log"
    with ServerProcess(repository / "digits", "digits", log=log, flags=("--drain_delay_s=0",)) as process:
        process.wait_until_available()
        yield process


@pytest.fixture(scope="session")
def samples(run_folder):
    """Real held-out images with their labels, the file that training leaves."""
    return run_folder / "samples.npz"
