import asyncio
import gzip
import json
import socket
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from serving.errors import Code, ServingError
from serving.metrics import Metrics
from serving.rest.app import create_app
from serving.rest.limits import Limits
from serving.rest.replies import HTTP_STATUS, error_reply
from serving.transports import RestTransport, reserve
from tests.serving.bundles import kernel_of, softmax
from tests.serving.rest.planes import TYPES, open_client, open_data_plane

X = [[1.0, 2.0, 3.0, 4.0], [0.0, 0.0, -1.0, 1.0]]


def ask(
    models: Path, method: str, path: str, content: Any = None, headers: Any = None, **options: Any
) -> httpx.Response:
    async def run() -> httpx.Response:
        async with open_client(models, **options) as client:
            body = json.dumps(content) if isinstance(content, dict) else content
            return await client.request(method, path, content=body, headers=headers)

    return asyncio.run(run())


def post(models: Path, path: str, content: Any, **options: Any) -> tuple[int, Any]:
    reply = ask(models, "POST", path, content, **options)
    assert reply.headers["content-type"] == "application/json"
    return reply.status_code, reply.json()


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize(("key", "form"), [("instances", "predictions"), ("inputs", "outputs")])
def test_predict_answers_in_the_form_of_the_request(models: Path, version: int, key: str, form: str) -> None:
    status, reply = post(models, f"/v1/models/dense/versions/{version}:predict", {key: X})
    assert status == 200
    assert list(reply) == [form]
    np.testing.assert_allclose(reply[form], softmax(np.array(X) @ kernel_of(version)), atol=1e-6)


def test_the_newest_version_answers(models: Path) -> None:
    reply = post(models, "/v1/models/dense:predict", {"instances": X})
    assert reply == post(models, "/v1/models/dense/versions/2:predict", {"instances": X})


def test_several_inputs_and_outputs_stand_under_their_names(models: Path) -> None:
    row = {"a": [1, 2], "b": [1, 1], "text": "hi"}
    expected = {"total": [2.0, 3.0], "echo_bytes": {"b64": "aGk="}}
    assert post(models, "/v1/models/pair:predict", {"instances": [row]}) == (200, {"predictions": [expected]})
    columns = {name: [value] for name, value in row.items()}
    expected = {"total": [[2.0, 3.0]], "echo_bytes": [{"b64": "aGk="}]}
    assert post(models, "/v1/models/pair:predict", {"inputs": columns}) == (200, {"outputs": expected})


def test_every_type_goes_in_and_out(models: Path) -> None:
    values = {"float64": 0.1, "int8": -5, "int32": -(2**31), "int64": 2**53 + 1, "uint8": 200, "bool": True}
    status, reply = post(
        models, "/v1/models/typed:predict", {"inputs": {f"x_{name}": [values[name]] for name in TYPES}}
    )
    assert (status, reply) == (200, {"outputs": {f"y_{name}": [values[name]] for name in TYPES}})


def test_any_signature_can_be_predicted(models: Path) -> None:
    status, reply = post(models, "/v1/models/dense:predict", {"instances": X, "signature_name": "explain"})
    assert status == 200
    assert set(reply["predictions"][0]) == {
        "probabilities",
        "relevance",
        "target",
        "explained_value",
        "conservation_gap",
    }


@pytest.mark.parametrize(
    ("path", "content", "status", "error"),
    [
        ("/v1/models/nope:predict", {"instances": [1]}, 404, "Servable not found for request: Latest(nope)"),
        (
            "/v1/models/dense/versions/99:predict",
            {"instances": [1]},
            404,
            "Servable not found for request: Specific(dense, 99)",
        ),
        (
            "/v1/models/dense/labels/stable:predict",
            {"instances": [1]},
            400,
            "Unrecognized servable version label: stable",
        ),
        (
            "/v1/models/dense:predict",
            {"instances": X, "signature_name": "S"},
            400,
            'Serving signature name: "S" not found in signature def',
        ),
        ("/v1/models/dense:predict", b"", 400, "JSON Parse error: The document is empty"),
        ("/v1/models/dense:predict", b"nope", 400, "JSON Parse error: Invalid value. at offset: 0"),
        ("/v1/models/dense:predict", {}, 400, "Missing 'inputs' or 'instances' key"),
        (
            "/v1/models/dense:predict",
            {"instances": [[1, 2, 3, 4], [1, 2, 3]]},
            400,
            (
                "Failed to process element: 1 of 'instances' list. Error: INVALID_ARGUMENT: "
                "Expecting tensor size: 4 but got: 3"
            ),
        ),
        (
            "/v1/models/dense:classify",
            {"examples": []},
            400,
            "JSON Value: {\"examples\": []} 'examples' value is an empty array",
        ),
        ("/v1/models/dense:regress", {"examples": [1]}, 400, "Example must be JSON object but got JSON Number"),
        ("/v1/models/dense:multiInference", {}, 400, "Malformed request: POST /v1/models/dense:multiInference"),
        ("/v1/models/dense", {}, 405, "Malformed request: POST /v1/models/dense. Use GET."),
        ("/nope", {}, 404, "No such URL: POST /nope."),
    ],
)
def test_refusals_have_a_status_and_a_text(models: Path, path: str, content: Any, status: int, error: str) -> None:
    got, reply = post(models, path, content)
    assert got == status
    assert list(reply) == ["error"]
    assert reply["error"] == error or (status in (404, 501) and reply["error"].startswith(error))


@pytest.mark.parametrize("token", ["NaN", "Infinity", "-Infinity", "1e39"])
def test_what_is_not_finite_is_refused_by_a_model_that_cannot_take_it(models: Path, token: str) -> None:
    status, reply = post(models, "/v1/models/dense:predict", f'{{"instances": [[1, 2, 3, {token}]]}}')
    assert status == 400
    assert "finite" in reply["error"]


def test_what_is_not_finite_comes_back_as_bare_tokens(models: Path) -> None:
    reply = ask(
        models, "POST", "/v1/models/double:predict", b'{"instances": [NaN, Infinity, -1]}', refuse_non_finite=False
    )
    assert reply.content == b'{"predictions":[NaN,Infinity,-2.0]}'


@pytest.mark.parametrize("content_type", [None, "text/plain", "application/x-www-form-urlencoded", "application/json"])
def test_the_content_type_does_not_matter(models: Path, content_type: str | None) -> None:
    headers = {} if content_type is None else {"content-type": content_type}
    assert ask(models, "POST", "/v1/models/dense:predict", {"instances": X}, headers).status_code == 200


def test_a_gzip_body_is_taken(models: Path) -> None:
    body = gzip.compress(json.dumps({"instances": X}).encode())
    reply = ask(models, "POST", "/v1/models/dense:predict", body, {"content-encoding": "gzip"})
    assert reply.status_code == 200
    assert reply.json() == post(models, "/v1/models/dense:predict", {"instances": X})[1]


def test_bodies_have_limits(models: Path) -> None:
    limits = Limits(max_body_bytes=50, max_inflated_bytes=60)
    body = json.dumps({"instances": X * 10}).encode()
    status, reply = post(models, "/v1/models/dense:predict", body, limits=limits)
    assert (status, reply) == (
        413,
        {"error": "A body may be 50 bytes sent. Received: more. Send fewer instances at a time."},
    )
    status, reply = post(
        models,
        "/v1/models/dense:predict",
        gzip.compress(b" " * 61),
        headers={"content-encoding": "gzip"},
        limits=limits,
    )
    assert (status, reply["error"][:33]) == (413, "A body may be 60 bytes inflated. ")
    status, reply = post(models, "/v1/models/dense:predict", b"x", headers={"content-encoding": "br"})
    assert status == 415


def test_deep_json_is_refused(models: Path) -> None:
    for body in (b"[" * 10**6, b'{"instances":' + b"[" * 900 + b"]" * 900 + b"}"):
        status, reply = post(models, "/v1/models/dense:predict", body)
        assert status == 400
        assert "deep" in reply["error"]


def test_status_and_metadata_have_tensorflow_serving_s_form(models: Path) -> None:
    state = {"state": "AVAILABLE", "status": {"error_code": "OK", "error_message": ""}}
    both = {"model_version_status": [{"version": "2", **state}, {"version": "1", **state}]}
    for path in ("/v1/models/dense", "/v1/models/dense/labels/ignored"):
        assert ask(models, "GET", path).json() == both
    assert ask(models, "GET", "/v1/models/dense/versions/1").json() == {
        "model_version_status": both["model_version_status"][1:]
    }
    unknown = ask(models, "GET", "/v1/models/nope")
    assert (unknown.status_code, unknown.json()) == (404, {"error": "Could not find any versions of model nope"})
    metadata = ask(models, "GET", "/v1/models/plain/metadata").json()
    dim = [{"size": "-1", "name": ""}, {"size": "4", "name": ""}]
    x = {"name": "x", "dtype": "DT_FLOAT", "tensor_shape": {"dim": dim, "unknown_rank": False}}
    assert metadata["model_spec"] == {"name": "plain", "signature_name": "", "version": "1"}
    signature = metadata["metadata"]["signature_def"]["signature_def"]["serving_default"]
    assert signature["inputs"] == {"x": x}
    assert signature["method_name"] == "tensorflow/serving/predict"
    assert signature["defaults"] == {}


def test_models_are_listed(models: Path) -> None:
    listed = ask(models, "GET", "/v1/models").json()["models"]
    assert [model["name"] for model in listed] == ["dense", "double", "pair", "plain", "typed"]
    assert [version["version"] for version in listed[0]["model_version_status"]] == ["2", "1"]


def test_liveness_and_readiness_differ(models: Path) -> None:
    async def run() -> None:
        metrics = Metrics()
        async with open_data_plane(models, metrics) as plane:
            transport = httpx.ASGITransport(app=create_app(plane, metrics))
            async with httpx.AsyncClient(transport=transport, base_url="http://server") as client:
                assert (await client.get("/readyz")).json() == {"status": "ready"}
                plane.set_ready(ready=False)
                reply = await client.get("/readyz")
                assert reply.status_code == 503
                assert reply.json()["error"].startswith("Not ready: ")
                assert (await client.get("/healthz")).json() == {"status": "alive"}

    asyncio.run(run())


def test_metrics_count_requests_and_no_names_that_a_client_makes_up(models: Path) -> None:
    async def run() -> str:
        async with open_client(models) as client:
            await client.post("/v1/models/dense:predict", content=json.dumps({"instances": X}))
            await client.post("/v1/models/dense:explain", content=json.dumps({"instances": X}))
            await client.post("/v1/models/dense/versions/12345:predict", content=json.dumps({"instances": X}))
            await client.get("/v1/models/invented")
            reply = await client.get("/monitoring/prometheus/metrics")
            assert reply.headers["content-type"].startswith("text/plain")
            return reply.text

    text = asyncio.run(run())
    counted = [line for line in text.splitlines() if line.startswith("whyserve_requests_total")]
    for api in ("predict", "explain"):
        wanted = ('model="dense"', 'version="2"', f'api="{api}"', 'entrypoint="REST"', 'code="OK"')
        assert any(all(label in line for label in wanted) for line in counted), (api, counted)
    assert "invented" not in text
    assert "12345" not in text


def test_an_overloaded_or_stopping_server_says_when_to_come_again() -> None:
    for code, status in ((Code.RESOURCE_EXHAUSTED, 429), (Code.UNAVAILABLE, 503)):
        reply = error_reply(ServingError(code, "later"))
        assert (reply.status, reply.headers) == (status, ((b"retry-after", b"1"),))
    assert HTTP_STATUS.keys() == set(Code)


def test_an_error_text_that_is_no_unicode_is_still_json() -> None:
    assert json.loads(error_reply(ServingError(Code.INTERNAL, "a\ud800b")).body) == {"error": "a?b"}


def test_a_fault_inside_the_server_is_500_and_logged(
    models: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise ZeroDivisionError("secret detail")

    monkeypatch.setattr("serving.data_plane.DataPlane.predict", fail)
    status, reply = post(models, "/v1/models/dense:predict", {"instances": X})
    assert status == 500
    assert "secret detail" not in reply["error"]
    assert "secret detail" in caplog.text


def test_lifespan_and_websockets_are_answered(models: Path) -> None:
    async def run() -> list[str]:
        sent: list[str] = []
        incoming = iter(["lifespan.startup", "lifespan.shutdown"])

        async def receive() -> dict[str, Any]:
            return {"type": next(incoming)}

        async def send(message: Any) -> None:
            sent.append(message["type"])

        metrics = Metrics()
        async with open_data_plane(models, metrics) as plane:
            app = create_app(plane, metrics)
            await app({"type": "lifespan"}, receive, send)
            await app({"type": "websocket"}, receive, send)
        return sent

    assert asyncio.run(run()) == ["lifespan.startup.complete", "lifespan.shutdown.complete", "websocket.close"]


def over_network(models: Path, check: Callable[[str, int, Any], Awaitable[Any]], **options: Any) -> Any:
    """Runs the application behind uvicorn on a free port, as the server does."""

    async def run() -> Any:
        metrics = Metrics()
        async with open_data_plane(models, metrics) as plane:
            reserved = reserve("127.0.0.1", 0, "REST")
            port = reserved.getsockname()[1]
            transport = RestTransport(create_app(plane, metrics, **options), reserved, grace_period_s=1)
            await transport.start()
            try:
                return await check("127.0.0.1", port, plane)
            finally:
                await transport.stop()

    return asyncio.run(run())


async def exchange(host: str, port: int, content: bytes) -> bytes:
    """Sends bytes on a connection of its own and reads until it closes."""
    reader, writer = await asyncio.open_connection(host, port)
    writer.write(content)
    await writer.drain()
    reply = await asyncio.wait_for(reader.read(), 20)
    writer.close()
    return reply


def test_a_reply_has_its_length_and_the_connection_is_kept(models: Path) -> None:
    async def check(host: str, port: int, _plane: Any) -> None:
        async with httpx.AsyncClient(base_url=f"http://{host}:{port}") as client:
            for _ in range(3):
                reply = await client.post("/v1/models/dense:predict", content=json.dumps({"instances": X}))
                assert reply.status_code == 200
                assert int(reply.headers["content-length"]) == len(reply.content)
                assert "transfer-encoding" not in reply.headers
                assert "connection" not in reply.headers

    over_network(models, check)


def test_a_client_that_sends_too_much_reads_why(models: Path) -> None:
    async def check(host: str, port: int, _plane: Any) -> None:
        head = b"POST /v1/models/dense:predict HTTP/1.1\r\nHost: x\r\nContent-Length: 3000\r\n\r\n"
        reply = await exchange(host, port, head + b"x" * 3000)
        assert reply.startswith(b"HTTP/1.1 413 ")
        assert b"A body may be 2000 bytes sent" in reply
        assert b"connection: close" in reply.lower()
        chunks = b"POST /v1/models/dense:predict HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
        reply = await exchange(host, port, chunks + b"7d0\r\n" + b"x" * 2000 + b"\r\n1\r\nx\r\n0\r\n\r\n")
        assert reply.startswith(b"HTTP/1.1 413 ")

    over_network(models, check, limits=Limits(max_body_bytes=2000))


def test_a_client_that_leaves_takes_its_request_out_of_the_queue(models: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def check(host: str, port: int, plane: Any) -> None:
        entered, cancelled = asyncio.Event(), asyncio.Event()

        async def wait(*_: object, **__: object) -> None:
            entered.set()
            try:
                await asyncio.sleep(30)
            except asyncio.CancelledError:
                cancelled.set()
                raise

        monkeypatch.setattr(plane, "predict", wait)
        _, writer = await asyncio.open_connection(host, port)
        body = json.dumps({"instances": X}).encode()
        writer.write(
            b"POST /v1/models/dense:predict HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(body) + body
        )
        await asyncio.wait_for(entered.wait(), 10)
        writer.close()
        await asyncio.wait_for(cancelled.wait(), 10)
        async with httpx.AsyncClient(base_url=f"http://{host}:{port}") as client:
            await asyncio.sleep(0.05)
            text = (await client.get("/monitoring/prometheus/metrics")).text
            assert 'code="CANCELLED"' in text

    over_network(models, check)


def test_plain_http_1_0_works(models: Path) -> None:
    async def check(host: str, port: int, _plane: Any) -> None:
        reply = await exchange(host, port, b"GET /healthz HTTP/1.0\r\n\r\n")
        assert reply.endswith(b'{"status":"alive"}')

    over_network(models, check)


def test_any_bytes_on_the_wire_leave_the_server_up(models: Path) -> None:
    rng = np.random.default_rng(0)
    pieces = [rng.bytes(length) for length in rng.integers(0, 80, 40)]

    async def check(host: str, port: int, _plane: Any) -> None:
        for piece in pieces:
            reader, writer = await asyncio.open_connection(host, port)
            writer.write(b"POST /v1/models/dense:predict HTTP/1.1\r\nContent-Length: %d\r\n\r\n" % len(piece) + piece)
            writer.write(piece)
            writer.get_extra_info("socket").shutdown(socket.SHUT_WR)
            await asyncio.wait_for(reader.read(), 20)
            writer.close()
        assert (await exchange(host, port, b"GET /readyz HTTP/1.0\r\n\r\n")).startswith(b"HTTP/1.1 200")

    over_network(models, check)
