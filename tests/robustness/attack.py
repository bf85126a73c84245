"""A server under attack, and how to see that it has taken no harm."""

import json
import os
import signal
import socket
import time
from contextlib import contextmanager
from pathlib import Path
from urllib.request import Request, urlopen

import grpc
import numpy as np

from serving.protos.predict_pb2 import PredictRequest, PredictResponse
from tests.serving.bundles import FEATURES, kernel_of, softmax
from whyserve.benchmark.machine import resident_mb
from whyserve.process import ServerProcess

NAME = "dense"
PREDICT = "/tensorflow.serving.PredictionService/Predict"
EXAMPLES = np.linspace(-1, 1, 2 * FEATURES, dtype=np.float32).reshape(2, FEATURES)
# Looks often for versions; no load balancer has to notice anything.
# A load that goes on until the server isn't ready any more has to notice it before the ports close.
NOTICED = "--drain_delay_s=1"
FLAGS = ("--drain_delay_s=0", "--file_system_poll_wait_seconds=0.1", "--rest_api_read_timeout_in_ms=2000")
TIMEOUT_S = 20.0
# To read TensorFlow from a cold disk takes long.
START_TIMEOUT_S = 300.0
# What a process may grow by while it is attacked: arenas and caches that fill once.
MOST_GROWTH_MB = 100
MOST_OPEN_FILES = 40


class Attacked:
    """A running server, with the means to look after it.

    Args:
        process: The server.
    """

    def __init__(self, process: ServerProcess) -> None:
        self.process = process
        self.port, self.rest_port = process.port, process.rest_api_port
        self.check_answers()
        self._memory_mb = resident_mb(process.pid)[0]
        self._files = self.open_files()

    def open_files(self) -> int:
        return sum(1 for _ in Path(f"/proc/{self.process.pid}/fd").iterdir())

    def check_answers(self, version: int = 1) -> None:
        """REST and gRPC give the right numbers, of this version."""
        expected = softmax(EXAMPLES @ kernel_of(version))
        np.testing.assert_allclose(predict_rest(self.rest_port), expected, rtol=1e-5)
        reply = predict_grpc(self.port)
        assert reply.model_spec.version.value == version
        received = np.array(reply.outputs["probabilities"].float_val).reshape(expected.shape)
        np.testing.assert_allclose(received, expected, rtol=1e-5)

    def check_unharmed(self, version: int = 1) -> None:
        """It lives, answers rightly, and has neither grown nor kept connections open."""
        self.check_answers(version)
        deadline = time.monotonic() + TIMEOUT_S
        while self.open_files() > self._files + MOST_OPEN_FILES and time.monotonic() < deadline:
            time.sleep(0.1)
        assert self.open_files() <= self._files + MOST_OPEN_FILES
        assert resident_mb(self.process.pid)[0] < self._memory_mb + MOST_GROWTH_MB
        assert "Traceback" not in self.process.log_tail()

    def connect(self, timeout_s: float = TIMEOUT_S) -> socket.socket:
        """A connection to the REST port."""
        return socket.create_connection(("127.0.0.1", self.rest_port), timeout=timeout_s)


@contextmanager
def attacked(model: Path, folder: Path, *flags: str, engine: str = "onnxruntime"):
    """A server for `model` whose log lies in `folder`; stopped at the end, which must succeed."""
    with ServerProcess(model, NAME, log=folder / "server.log", engine=engine, flags=(*FLAGS, *flags)) as process:
        process.wait_until_available(START_TIMEOUT_S)
        yield Attacked(process)
        assert process.stop() == 0


def predict_rest(port: int) -> np.ndarray:
    body = json.dumps({"instances": EXAMPLES.tolist()}).encode()
    request = Request(f"http://127.0.0.1:{port}/v1/models/{NAME}:predict", body)
    with urlopen(request, timeout=TIMEOUT_S) as answer:
        return np.array(json.load(answer)["predictions"])


def scrape(port: int) -> str:
    """The metrics, in Prometheus' text."""
    with urlopen(f"http://127.0.0.1:{port}/monitoring/prometheus/metrics", timeout=TIMEOUT_S) as answer:
        text: str = answer.read().decode()
    return text


def predict_request() -> PredictRequest:
    request = PredictRequest()
    request.model_spec.name = NAME
    request.inputs["x"].dtype = 1
    for size in EXAMPLES.shape:
        request.inputs["x"].tensor_shape.dim.add(size=size)
    request.inputs["x"].tensor_content = EXAMPLES.tobytes()
    return request


def predict_grpc(port: int) -> PredictResponse:
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        call = channel.unary_unary(
            PREDICT,
            request_serializer=PredictRequest.SerializeToString,
            response_deserializer=PredictResponse.FromString,
        )
        return call(predict_request(), timeout=TIMEOUT_S)


def read_until_closed(connection: socket.socket) -> bytes:
    """What a peer sends until it closes the connection, which it must do in time."""
    received = b""
    try:
        while block := connection.recv(1 << 16):
            received += block
    except ConnectionResetError:
        pass
    return received


def kill(process: ServerProcess) -> None:
    """Ends a server as the kernel does when memory runs out."""
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
