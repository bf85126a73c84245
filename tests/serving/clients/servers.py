"""Servers for the clients of strangers: one process for each engine, over the same bundles."""

import contextlib
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
from onnx import TensorProto, helper

from export.manifest import load_manifest
from tests.serving.bundles import entry, kernel_of, value_info, write_bundle, write_manifest, write_model

# Beside the environment that the tests run in.
PYTHON = Path(__file__).parents[3] / ".venv-clients" / "bin" / "python"
ENGINES = ("onnxruntime", "tensorflow")
HOST = "127.0.0.1"
START_S = 120


def write_repository(root: Path) -> None:
    """Two versions of `dense`, which explains itself, and `echo`, which hands strings through: for either engine."""
    for version in (1, 2):
        path = write_bundle(root / "dense", version)
        save_dense(path, kernel_of(version))
        write_manifest(path, "dense", version, load_manifest(path).signatures)
    node = helper.make_node("Identity", ["text"], ["again"])
    text, again = value_info("text", TensorProto.STRING, ["n"]), value_info("again", TensorProto.STRING, ["n"])
    tensors = [entry("text", "object", (None,))], [entry("again", "object", (None,))]
    path = write_model(root / "echo", 1, helper.make_graph([node], "echo", [text], [again]), *tensors)
    save_echo(path)
    write_manifest(path, "echo", 1, load_manifest(path).signatures)


def save_dense(path: Path, kernel: np.ndarray) -> None:
    """The SavedModel of `tests.serving.bundles.write_bundle`."""
    import tensorflow as tf

    module = tf.Module()
    module.kernel = tf.Variable(kernel)
    x, target = tf.TensorSpec([None, 4], tf.float32, name="x"), tf.TensorSpec([None], tf.int32, name="target")

    def predict(x: Any) -> dict[str, Any]:
        return {"probabilities": tf.nn.softmax(x @ module.kernel)}

    def explain_target(x: Any, target: Any) -> dict[str, Any]:
        logits = x @ module.kernel
        chosen = tf.where(target < 0, tf.argmax(logits, axis=1, output_type=tf.int32), target)
        relevance = x * tf.gather(tf.transpose(module.kernel), chosen)
        value = tf.gather(logits, chosen, batch_dims=1)
        gap = value - tf.reduce_sum(relevance, axis=1)
        explained = {"relevance": relevance, "target": tf.identity(chosen)}
        return predict(x) | explained | {"explained_value": value, "conservation_gap": gap}

    def explain(x: Any) -> dict[str, Any]:
        return explain_target(x, tf.fill([tf.shape(x)[0]], -1))

    signatures = {
        "serving_default": tf.function(predict, input_signature=[x]),
        "explain": tf.function(explain, input_signature=[x]),
        "explain_target": tf.function(explain_target, input_signature=[x, target]),
    }
    tf.saved_model.save(module, str(path), signatures=signatures)


def save_echo(path: Path) -> None:
    """The SavedModel that hands strings through."""
    import tensorflow as tf

    module = tf.Module()

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="text")])
    def echo(text: Any) -> dict[str, Any]:
        return {"again": tf.identity(text)}

    tf.saved_model.save(module, str(path), signatures={"serving_default": echo})


@contextlib.contextmanager
def serve(repository: Path, *engines: str) -> Iterator[list[str]]:
    """Runs `whyserve serve` for each engine; gives a REST and a gRPC address for each, in order."""
    ports = [free_ports() for _ in engines]
    with contextlib.ExitStack() as stack:
        servers = [start(repository, engine, *pair) for engine, pair in zip(engines, ports, strict=True)]
        for server in servers:
            stack.callback(stop, server)
        for server, (_, rest_api_port) in zip(servers, ports, strict=True):
            wait_until_ready(f"http://{HOST}:{rest_api_port}", server)
        yield [f"{HOST}:{number}" for port, rest_api_port in ports for number in (rest_api_port, port)]


def start(repository: Path, engine: str, port: int, rest_api_port: int) -> subprocess.Popen[bytes]:
    """Starts a server; what it logs goes nowhere."""
    flags = {"engine": engine, "device": "cpu", "model_repository": repository, "num_versions": 2, "drain_delay_s": 0}
    flags |= {"host": HOST, "port": port, "rest_api_port": rest_api_port}
    command = [Path(sys.executable).parent / "whyserve", "serve", *(f"--{name}={flag}" for name, flag in flags.items())]
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": "", "TF_CPP_MIN_LOG_LEVEL": "3"}
    return subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL)


def stop(server: subprocess.Popen[bytes]) -> None:
    """Asks a server to drain, and makes sure that it has ended."""
    server.terminate()
    try:
        server.wait(timeout=20)
    except subprocess.TimeoutExpired:
        server.kill()
        server.wait()


def wait_until_ready(url: str, server: subprocess.Popen[bytes]) -> None:
    """Waits until a server answers."""
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline and server.poll() is None:
        with contextlib.suppress(httpx.TransportError):
            if httpx.get(f"{url}/v2/health/ready").status_code == 200:
                return
        time.sleep(0.05)
    raise AssertionError(f"never ready, status {server.poll()}")


def free_ports() -> tuple[int, int]:
    """Two ports that nobody listens on."""
    with socket.socket() as first, socket.socket() as second:
        first.bind((HOST, 0))
        second.bind((HOST, 0))
        return first.getsockname()[1], second.getsockname()[1]


def ask(script: str, addresses: list[str]) -> dict[str, Any]:
    """What a client's script got from each server, by engine."""
    return dict(zip(ENGINES, run(script, *addresses), strict=True))


def run(script: str, *arguments: str) -> Any:
    """Runs a script of this folder in the clients' environment; gives the JSON that it prints."""
    if not PYTHON.is_file():
        raise AssertionError(
            f"The clients of strangers must be installed in {PYTHON.parents[1]}. Received: no such environment. "
            "`make test` installs it; `make .venv-clients/.installed` does only that."
        )
    command = [PYTHON, Path(__file__).with_name(script), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=180, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)
