"""A training is killed in the middle, and the same command continues it; workers train together. Real processes."""

import json
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from models.run_folder import read_record

PROGRAM = """
import json, sys
from pathlib import Path
from models.training import TrainingConfig, train
result = train(TrainingConfig(**json.loads(sys.argv[2])), Path(sys.argv[1]))
print(json.dumps({"resumed_from_epoch": result.resumed_from_epoch}))
"""
OPTIONS = {
    "architecture": "cnn", "data": "digits", "epochs": 8, "batch_size": 32, "seed": 4, "shift": 0.05,
    "batch_normalization": True,
}  # fmt: skip


def start(folder, options, **environment):
    command = [sys.executable, "-c", PROGRAM, str(folder), json.dumps(options)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **environment)


def finish(process):
    output, errors = process.communicate(timeout=180)
    assert process.returncode == 0, errors
    return json.loads(output)


def epochs_done(folder):
    path = folder / "checkpoints" / "state.json"
    return len(json.loads(path.read_text())["history"]["loss"]) if path.is_file() else 0


def kill_after(process, folder, epochs):
    deadline = time.monotonic() + 120
    while epochs_done(folder) < epochs:
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.communicate()


@pytest.mark.slow
def test_a_killed_training_continues_with_the_same_result(tmp_path):
    undisturbed, killed = tmp_path / "undisturbed", tmp_path / "killed"
    process = start(killed, OPTIONS)
    kill_after(process, killed, 2)
    done = epochs_done(killed)
    assert 2 <= done < 8
    assert not (killed / "run.json").exists()
    assert finish(start(killed, OPTIONS)) == {"resumed_from_epoch": done}
    assert finish(start(undisturbed, OPTIONS)) == {"resumed_from_epoch": 0}
    for name in ("history.json", "metrics.json"):
        assert (killed / name).read_text() == (undisturbed / name).read_text()
    assert read_record(killed).best_epoch == read_record(undisturbed).best_epoch
    assert not (killed / "checkpoints").exists()


def free_ports(count):
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


@pytest.mark.slow
def test_two_workers_train_one_model(tmp_path, monkeypatch):
    addresses = [f"127.0.0.1:{port}" for port in free_ports(2)]
    processes = []
    options = {
        **OPTIONS,
        "epochs": 2,
        "batch_size": 64,
        "strategy": "multi_worker_mirrored",
        "batch_normalization": False,
    }
    for index in range(2):
        task = {"cluster": {"worker": addresses}, "task": {"type": "worker", "index": index}}
        monkeypatch.setenv("TF_CONFIG", json.dumps(task))
        processes.append(start(tmp_path / str(index), options))
    for process in processes:
        finish(process)
    histories = [json.loads(Path(tmp_path / str(index) / "history.json").read_text()) for index in range(2)]
    assert histories[0] == histories[1]
    assert histories[0]["loss"][1] < histories[0]["loss"][0]
    assert histories[0]["val_accuracy"][1] > 0.6
