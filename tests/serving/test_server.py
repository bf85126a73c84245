"""The whole server on loopback: in this process for what goes on inside, as a process for signals and exit statuses."""

import asyncio
import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from pathlib import Path

import grpc
import httpx
import numpy as np
import pytest

from serving.batching import BatchLimits
from serving.errors import StartError
from serving.options import ServerOptions
from serving.protos import predict_pb2
from serving.server import Server
from serving.transports import reserve
from tests.serving.bundles import FEATURES, kernel_of, softmax, write_bundle
from tests.serving.models import RecordingModel
from tests.serving.test_manager import HeldEngine, SlowEngine

X = np.arange(2 * FEATURES, dtype=np.float32).reshape(2, FEATURES) / 10
HOST = "127.0.0.1"


def free_ports() -> tuple[int, int]:
    with socket.socket() as first, socket.socket() as second:
        first.bind((HOST, 0))
        second.bind((HOST, 0))
        return first.getsockname()[1], second.getsockname()[1]


@pytest.fixture
def options(tmp_path) -> ServerOptions:
    write_bundle(tmp_path / "models" / "dense", 1)
    port, rest_api_port = free_ports()
    return ServerOptions(
        port=port, rest_api_port=rest_api_port, host=HOST, model_repository=tmp_path / "models", drain_delay_s=0.0
    )


@contextlib.asynccontextmanager
async def running(options: ServerOptions) -> AsyncIterator[Server]:
    server = Server(options)
    task = asyncio.create_task(server.run())
    while not server.data_plane.ready() and not task.done():
        await asyncio.sleep(0.001)
    try:
        yield server
    finally:
        server.stop(hurry=True)
        await task


def rest(options: ServerOptions) -> httpx.AsyncClient:
    return httpx.AsyncClient(base_url=f"http://{HOST}:{options.rest_api_port}", timeout=10)


async def ask_grpc(options: ServerOptions, x: np.ndarray, signature: str = "") -> predict_pb2.PredictResponse:
    request = predict_pb2.PredictRequest()
    request.model_spec.name = "dense"
    request.model_spec.signature_name = signature
    request.inputs["x"].dtype = 1
    for size in x.shape:
        request.inputs["x"].tensor_shape.dim.add().size = size
    request.inputs["x"].tensor_content = x.tobytes()
    async with grpc.aio.insecure_channel(f"{HOST}:{options.port}") as channel:
        call = channel.unary_unary(
            "/tensorflow.serving.PredictionService/Predict",
            request_serializer=lambda message: message.SerializeToString(),
            response_deserializer=predict_pb2.PredictResponse.FromString,
        )
        return await call(request, timeout=10)


def run(test) -> None:
    asyncio.run(asyncio.wait_for(test, 30))


def test_both_transports_predict_and_explain(options):
    async def test():
        async with running(options), rest(options) as client:
            expected = softmax(X @ kernel_of(1))
            answer = (await client.post("/v1/models/dense:predict", json={"instances": X.tolist()})).json()
            np.testing.assert_allclose(answer["predictions"], expected, rtol=1e-5)
            outputs = (await ask_grpc(options, X)).outputs
            np.testing.assert_allclose(np.reshape(outputs["probabilities"].float_val, (2, 3)), expected, rtol=1e-5)
            relevance = X * kernel_of(1).T[expected.argmax(axis=1)]
            explained = (await client.post("/v1/models/dense:explain", json={"instances": X.tolist()})).json()
            attributions = [each["attributions"][0]["featureAttributions"]["x"] for each in explained["explanations"]]
            np.testing.assert_allclose(attributions, relevance, rtol=1e-5)
            outputs = (await ask_grpc(options, X, "explain")).outputs
            np.testing.assert_allclose(np.reshape(outputs["relevance"].float_val, X.shape), relevance, rtol=1e-5)

    run(test())


def test_requests_of_both_transports_are_counted(options):
    async def test():
        async with running(options), rest(options) as client:
            await client.post("/v1/models/dense:predict", json={"instances": X.tolist()})
            await ask_grpc(options, X, "explain")
            text = (await client.get("/monitoring/prometheus/metrics")).text
            for text_of_labels in (
                'signature="serving_default",engine="onnxruntime",api="predict",entrypoint="REST",code="OK"',
                'signature="explain",engine="onnxruntime",api="Predict",entrypoint="GRPC",code="OK"',
            ):
                labels = dict(pair.split("=") for pair in text_of_labels.split(","))
                lines = [line for line in text.splitlines() if line.startswith("whyserve_requests_total{")]
                assert any(all(f"{key}={value}" in line for key, value in labels.items()) for line in lines), lines
            assert ':tensorflow:serving:request_count{model_name="dense",status="OK"} 2' in text

    run(test())


def test_readiness_fails_first_and_what_is_in_flight_is_answered(options, monkeypatch):
    """The order of events only: the model waits for an event."""
    model = RecordingModel(signature_names=["serving_default"])
    monkeypatch.setattr("serving.setup.create_engine", lambda *_, **__: HeldEngine(model))
    monkeypatch.setattr("serving.setup.BatchLimits", lambda *_: BatchLimits(inline_limit_s=0.0))

    async def test():
        async with (
            running(replace(options, drain_delay_s=1.0)) as server,
            rest(options) as client,
            rest(options) as other,
        ):
            assert (await client.get("/readyz")).status_code == 200
            model.gate.clear()
            model.entered.clear()
            in_flight = asyncio.create_task(client.post("/v1/models/dense:predict", json={"instances": [[1.0, 2.0]]}))
            by_grpc = asyncio.create_task(ask_grpc(options, np.ones((1, 2), np.float32)))
            await asyncio.to_thread(model.entered.wait, 10)
            await asyncio.sleep(0.1)
            server.stop()
            await asyncio.sleep(0.3)  # longer than the transports take to close
            assert (await other.get("/readyz")).status_code == 503, "the port is still open and says that it won't be"
            assert (await other.get("/healthz")).status_code == 200
            await asyncio.sleep(1.5)
            with pytest.raises(httpx.ConnectError):
                await httpx.AsyncClient().get(f"http://{HOST}:{options.rest_api_port}/readyz")
            assert not in_flight.done()
            model.gate.set()
            assert (await in_flight).json() == {"predictions": [[3.0]]}
            assert (await by_grpc).outputs["y"].float_val == [2.0]
        assert server.drained
        assert model.closed

    run(test())


def test_what_outlives_the_grace_period_is_cut_off(options, monkeypatch, caplog):
    model = RecordingModel(signature_names=["serving_default"])
    monkeypatch.setattr("serving.setup.create_engine", lambda *_, **__: HeldEngine(model))
    monkeypatch.setattr("serving.setup.BatchLimits", lambda *_: BatchLimits(inline_limit_s=0.0))

    async def test():
        async with running(replace(options, grace_period_s=0.1)) as server, rest(options) as client:
            model.gate.clear()
            model.entered.clear()
            in_flight = asyncio.create_task(client.post("/v1/models/dense:predict", json={"instances": [[1.0, 2.0]]}))
            await asyncio.to_thread(model.entered.wait, 10)
            server.stop(hurry=True)
            with pytest.raises(httpx.HTTPError):
                (await in_flight).raise_for_status()
        model.gate.set()
        assert not server.drained
        assert "are cut off" in caplog.text

    run(test())


def test_a_stop_while_the_models_load_does_not_wait_for_them(options, monkeypatch):
    engine = SlowEngine()
    engine.gate.clear()
    monkeypatch.setattr("serving.setup.create_engine", lambda *_, **__: engine)

    async def test():
        server = Server(options)
        task = asyncio.create_task(server.run())
        await asyncio.to_thread(engine.entered.wait, 10)
        server.stop()
        await task
        assert not server.drained
        assert not server.data_plane.ready()
        with pytest.raises(httpx.ConnectError):
            await httpx.AsyncClient().get(f"http://{HOST}:{options.rest_api_port}/readyz")
        engine.gate.set()

    run(test())


def test_nobody_can_connect_to_a_reserved_port():
    port, _ = free_ports()
    with reserve(HOST, port, "REST"), socket.socket() as client, pytest.raises(ConnectionRefusedError):
        client.connect((HOST, port))


def test_a_port_that_somebody_listens_on_is_refused():
    port, _ = free_ports()
    with (
        socket.create_server((HOST, port)),
        pytest.raises(StartError, match=f"port {port} on {HOST} can't be opened: Address"),
    ):
        reserve(HOST, port, "gRPC")


@pytest.mark.parametrize("transport", ["port", "rest_api_port"])
def test_a_port_that_is_taken_while_the_models_load_is_an_error(options, monkeypatch, transport):
    async def test():
        server = Server(options)
        check = server._check_served
        with socket.socket() as other:

            def take_the_port() -> None:
                check()
                other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                other.bind((HOST, getattr(options, transport)))
                other.listen()

            monkeypatch.setattr(server, "_check_served", take_the_port)
            with pytest.raises(StartError, match=f"port {getattr(options, transport)} on {HOST} can't be opened"):
                await server.run()

    run(test())


def test_an_address_that_is_not_of_this_machine_is_refused():
    with pytest.raises(StartError, match="can't be opened: Cannot assign requested address"):
        reserve("192.0.2.1", free_ports()[0], "REST")
    with pytest.raises(StartError, match=r"`host` must be an address of this machine\. Received: host='no\.such"):
        reserve("no.such.host.invalid", free_ports()[0], "REST")


SCRIPT = """
import sys
from pathlib import Path
from serving.options import ServerOptions
from serving.server import serve
port, rest_api_port, kind, path = sys.argv[1:]
models = {kind: path if kind == "model_base_path" else Path(path)}
sys.exit(serve(ServerOptions(port=int(port), rest_api_port=int(rest_api_port), host="127.0.0.1", drain_delay_s=0.0,
                             file_system_poll_wait_seconds=0.05, **models)))
"""


# Loading its second version takes longer than anybody waits.
SLOW_SCRIPT = f"""
import time
from serving.engines.onnxruntime import OnnxRuntimeEngine
load = OnnxRuntimeEngine.load
OnnxRuntimeEngine.load = lambda engine, path: time.sleep(600 * (path.name == "2")) or load(engine, path)
{SCRIPT}
"""


@contextlib.contextmanager
def process(
    port: int, rest_api_port: int, kind: str, path: Path, *, script: str = SCRIPT
) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-c", script, str(port), str(rest_api_port), kind, str(path)]
    started = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    try:
        yield started
    finally:
        if started.poll() is None:
            started.kill()
        started.wait()
        started.stderr.close()


def wait_until_ready(url: str, server: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline and server.poll() is None:
        with contextlib.suppress(httpx.ConnectError):
            if httpx.get(f"{url}/readyz").status_code == 200:
                return
        time.sleep(0.02)
    raise AssertionError(f"never ready, status {server.poll()}")


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_the_process_with_status_0(options, number):
    url = f"http://{HOST}:{options.rest_api_port}"
    with process(options.port, options.rest_api_port, "model_repository", options.model_repository) as server:
        wait_until_ready(url, server)
        assert httpx.post(f"{url}/v1/models/dense:predict", json={"instances": X.tolist()}).status_code == 200
        os.kill(server.pid, number)
        _, log = server.communicate(timeout=20)
        assert server.returncode == 0
        assert "Drained: every request was answered" in log
        assert "CPUExecutionProvider" in log
        assert "Traceback" not in log


@pytest.mark.slow
def test_a_version_that_is_being_loaded_does_not_hold_up_the_end(options):
    url = f"http://{HOST}:{options.rest_api_port}"
    models = options.model_repository
    with process(options.port, options.rest_api_port, "model_repository", models, script=SLOW_SCRIPT) as server:
        wait_until_ready(url, server)
        write_bundle(models / "dense", 2)
        deadline = time.monotonic() + 10
        while "LOADING" not in httpx.get(f"{url}/v1/models/dense").text:
            assert time.monotonic() < deadline
            time.sleep(0.02)
        server.terminate()
        _, log = server.communicate(timeout=10)
        assert server.returncode == 0
        assert "Drained: every request was answered" in log


def test_a_reload_that_waits_for_a_model_is_given_up_when_the_server_stops(options, monkeypatch, tmp_path):
    engine = SlowEngine()
    monkeypatch.setattr("serving.setup.create_engine", lambda *_, **__: engine)
    document = {"base_path": str(write_bundle(tmp_path / "other", 1).parent)}

    async def test():
        async with running(replace(options, enable_admin_api=True)) as server, rest(options) as client:
            engine.gate.clear()
            adding = asyncio.create_task(client.put("/v1/admin/models/other", json=document))
            await asyncio.to_thread(engine.entered.wait, 10)
            started = time.monotonic()
            server.stop(hurry=True)
            reply = await adding
            assert reply.status_code == 503
            assert reply.json() == {"error": "The server is stopping: its models can't be changed any more."}
        assert time.monotonic() - started < 5, "of a grace period of 30 s"
        assert server.drained
        engine.gate.set()

    run(test())


@pytest.mark.slow
def test_steady_load_survives_version_swaps(options):
    """Requests of 8 connections while versions come: each is answered, by the version it names."""
    url = f"http://{HOST}:{options.rest_api_port}"
    base_path = options.model_repository / "dense"

    async def load(server: subprocess.Popen[str]) -> None:
        answered = 0
        stop = False

        async def client() -> None:
            nonlocal answered
            async with httpx.AsyncClient(base_url=url) as session:
                while not stop:
                    answer = await session.post("/v1/models/dense:predict", json={"instances": X.tolist()})
                    assert answer.status_code == 200, answer.text
                    answered += 1

        clients = [asyncio.create_task(client()) for _ in range(8)]
        async with httpx.AsyncClient(base_url=url) as session:
            for version in range(2, 6):
                write_bundle(base_path, version)
                while True:
                    status = (await session.get("/v1/models/dense")).json()["model_version_status"]
                    if {each["version"]: each["state"] for each in status}.get(str(version)) == "AVAILABLE":
                        break
                    await asyncio.sleep(0.01)
        stop = True
        await asyncio.gather(*clients)
        assert answered > 20

    with process(options.port, options.rest_api_port, "model_repository", options.model_repository) as server:
        wait_until_ready(url, server)
        asyncio.run(asyncio.wait_for(load(server), 60))


def _missing(folder: Path) -> tuple[str, Path, str]:
    return (
        "model_repository",
        folder / "missing",
        "`model_repository` must be a folder with model folders in it. Received: ",
    )


def _missing_base_path(folder: Path) -> tuple[str, Path, str]:
    return (
        "model_base_path",
        folder / "missing",
        "`model_base_path` must be a folder with version folders in it. Received: ",
    )


def _empty(folder: Path) -> tuple[str, Path, str]:
    (folder / "empty").mkdir()
    return "model_repository", folder / "empty", "No model can be served: "


def _repository_as_base_path(folder: Path) -> tuple[str, Path, str]:
    return "model_base_path", folder / "models", f"Use --model_repository={folder / 'models'}, or --model_base_path="


def _base_path_as_repository(folder: Path) -> tuple[str, Path, str]:
    return "model_repository", folder / "models" / "dense", f"Use --model_base_path={folder / 'models' / 'dense'}."


def _damaged(folder: Path) -> tuple[str, Path, str]:
    file = folder / "models" / "dense" / "1" / "predict.onnx"
    file.write_bytes(file.read_bytes()[:-1] + b"?")
    return "model_repository", folder / "models", "model 'dense': The files of bundle "


@pytest.mark.slow
@pytest.mark.parametrize(
    "spoil", [_missing, _missing_base_path, _empty, _repository_as_base_path, _base_path_as_repository, _damaged]
)
def test_a_server_that_cannot_start_says_why_in_one_line_and_ends_with_status_1(options, tmp_path, spoil):
    kind, path, message = spoil(tmp_path)
    with process(options.port, options.rest_api_port, kind, path) as server:
        _, log = server.communicate(timeout=30)
    assert server.returncode == 1
    lines = [line for line in log.splitlines() if line.startswith("whyserve: ")]
    assert len(lines) == 1, log
    assert message in lines[0]
    assert "Traceback" not in log


@pytest.mark.slow
@pytest.mark.parametrize("taken", ["port", "rest_api_port"])
def test_a_port_in_use_is_an_error(options, taken):
    with socket.socket() as other:
        other.bind((HOST, getattr(options, taken)))
        other.listen()
        with process(options.port, options.rest_api_port, "model_repository", options.model_repository) as server:
            _, log = server.communicate(timeout=30)
    assert server.returncode == 1
    name = {"port": "gRPC", "rest_api_port": "REST"}[taken]
    assert (
        f"whyserve: The {name} port {getattr(options, taken)} on {HOST} can't be opened: Address already in use." in log
    )
    assert "Traceback" not in log
