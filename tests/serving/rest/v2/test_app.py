import asyncio
import gzip
import json
import struct
import time
import zlib
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from serving.errors import ServingError
from serving.inference_protocol.inference import EXPLAIN_PARAMETERS
from serving.rest.explain_parameters import NAMES
from serving.rest.v2.codec import decode_request
from serving.rest.v2.routes import find_v2_route
from tests.serving.bundles import kernel_of, softmax
from tests.serving.inference_protocol.test_datatypes import outcome
from tests.serving.rest.planes import TYPES, open_client

X = np.array([[1, 2, 3, 4], [0, 0, -1, 1]], np.float32)
LOGITS = X.astype(float) @ kernel_of(2)
DATATYPES = {"float64": "FP64", "int8": "INT8", "int32": "INT32", "int64": "INT64", "uint8": "UINT8", "bool": "BOOL"}


def ask(models: Path, method: str, path: str, content: Any = None, headers: Any = None) -> httpx.Response:
    async def run() -> httpx.Response:
        async with open_client(models) as client:
            body = json.dumps(content) if isinstance(content, dict) else content
            return await client.request(method, path, content=body, headers=headers)

    return asyncio.run(run())


def x(data: Any = None, **more: Any) -> dict[str, Any]:
    return {
        "name": "x",
        "shape": [2, 4],
        "datatype": "FP32",
        "data": X.ravel().tolist() if data is None else data,
        **more,
    }


def infer(models: Path, request: dict[str, Any], path: str = "/v2/models/dense/infer") -> dict[str, Any]:
    reply = ask(models, "POST", path, request)
    assert reply.status_code == 200, reply.text
    return {output["name"]: np.array(output["data"]).reshape(output["shape"]) for output in reply.json()["outputs"]}


@pytest.mark.parametrize("data", [X.ravel().tolist(), X.tolist()])
def test_infer_takes_flat_and_nested_data(models: Path, data: Any) -> None:
    reply = ask(models, "POST", "/v2/models/dense/infer", {"id": "7", "inputs": [x(data)]}).json()
    (output,) = reply.pop("outputs")
    assert reply == {"model_name": "dense", "model_version": "2", "id": "7"}
    assert (output["name"], output["datatype"], output["shape"]) == ("probabilities", "FP32", [2, 3])
    np.testing.assert_allclose(np.array(output["data"]).reshape(2, 3), softmax(LOGITS), atol=1e-6)


def test_the_binary_extension_carries_tensors_behind_the_json(models: Path) -> None:
    given = {**x(), "parameters": {"binary_data_size": X.nbytes}}
    del given["data"]
    wanted = [{"name": "probabilities", "parameters": {"binary_data": True}}]
    header = json.dumps({"inputs": [given], "outputs": wanted}).encode()
    headers = {"Inference-Header-Content-Length": str(len(header))}
    reply = ask(models, "POST", "/v2/models/dense/versions/1/infer", header + X.tobytes(), headers)
    length = int(reply.headers["inference-header-content-length"])
    (output,) = json.loads(reply.content[:length])["outputs"]
    assert reply.headers["content-type"] == "application/octet-stream"
    assert output["parameters"] == {"binary_data_size": 24}
    values = np.frombuffer(reply.content[length:], np.float32).reshape(2, 3)
    np.testing.assert_allclose(values, softmax(X.astype(float) @ kernel_of(1)), atol=1e-6)


def test_every_type_goes_through(models: Path) -> None:
    columns = {name: [0, 1, 1] if name != "bool" else [False, True, True] for name in TYPES}
    inputs = [
        {"name": f"x_{name}", "shape": [3], "datatype": DATATYPES[name], "data": column}
        for name, column in columns.items()
    ]
    outputs = ask(models, "POST", "/v2/models/typed/infer", {"inputs": inputs}).json()["outputs"]
    assert {output["name"]: (output["datatype"], output["data"]) for output in outputs} == {
        f"y_{name}": (DATATYPES[name], column) for name, column in columns.items()
    }


def test_strings_go_through_in_either_form(models: Path) -> None:
    text = struct.pack("<I2sI0s", 2, b"hi", 0, b"")
    floats = [{"name": name, "shape": [2, 2], "datatype": "FP32", "data": [1, 2, 3, 4]} for name in "ab"]
    strings = {"name": "text", "shape": [2], "datatype": "BYTES", "parameters": {"binary_data_size": len(text)}}
    header = json.dumps({"inputs": [*floats, strings], "parameters": {"binary_data_output": True}}).encode()
    headers = {"Inference-Header-Content-Length": str(len(header))}
    reply = ask(models, "POST", "/v2/models/pair/infer", header + text, headers)
    assert reply.content.endswith(np.array([2, 4, 6, 8], np.float32).tobytes() + text)
    echoed = infer(
        models, {"inputs": [*floats, {**strings, "parameters": {}, "data": ["hi", ""]}]}, "/v2/models/pair/infer"
    )
    assert echoed["echo_bytes"].tolist() == ["hi", ""]


@pytest.mark.parametrize("path", ["/v2/models/dense/explain", "/v2/models/dense:explain/infer"])
def test_explanations_are_tensors(models: Path, path: str) -> None:
    outputs = infer(models, {"inputs": [x()]}, path)
    chosen = LOGITS.argmax(axis=1)
    assert outputs["target"].tolist() == chosen.tolist()
    np.testing.assert_allclose(outputs["relevance"], X * kernel_of(2)[:, chosen].T, atol=1e-5)
    np.testing.assert_allclose(outputs["explained_value"], LOGITS.max(axis=1), atol=1e-5)


def test_targets_are_a_parameter_or_an_input(models: Path) -> None:
    one = infer(models, {"inputs": [x()], "parameters": {"target": "c"}}, "/v2/models/dense/explain")
    np.testing.assert_allclose(one["relevance"], X * kernel_of(2)[:, 2], atol=1e-5)
    targets = {"name": "target", "shape": [2], "datatype": "INT32", "data": [0, 2]}
    each = infer(models, {"inputs": [x(), targets], "outputs": [{"name": "relevance"}]}, "/v2/models/dense/explain")
    assert list(each) == ["relevance"]
    np.testing.assert_allclose(each["relevance"], X * kernel_of(2)[:, [0, 2]].T, atol=1e-5)


def test_the_best_classes_stand_in_a_dimension_of_their_own(models: Path) -> None:
    outputs = infer(models, {"inputs": [x()], "parameters": {"top_k": -1}}, "/v2/models/dense/explain")
    ranked = np.argsort(-LOGITS, axis=1)
    assert outputs["target"].tolist() == ranked.tolist()
    expected = X[:, None, :] * kernel_of(2).T[ranked]  # (batch, classes, features)
    np.testing.assert_allclose(outputs["relevance"], expected, atol=1e-5)
    np.testing.assert_allclose(outputs["probabilities"], softmax(LOGITS), atol=1e-6)


def test_one_class_is_compared_with_another(models: Path) -> None:
    request = {
        "inputs": [x()],
        "parameters": {"target": 0, "contrast": 1},
        "outputs": [{"name": "relevance"}, {"name": "contrast"}],
    }
    outputs = infer(models, request, "/v2/models/dense/explain")
    kernel = kernel_of(2)
    np.testing.assert_allclose(outputs["relevance"], X * (kernel[:, 0] - kernel[:, 1]), atol=1e-5)
    assert outputs["contrast"].tolist() == [1, 1]


def test_the_parameters_are_those_of_the_other_protocol() -> None:
    assert set(EXPLAIN_PARAMETERS) == set(NAMES)


@pytest.mark.parametrize(
    ("path", "request_body", "status", "text"),
    [
        ("dense/infer", {"inputs": [x()], "parameters": {"target": 1}}, 400, "are those of an explanation"),
        ("plain/explain", {"inputs": [x()]}, 400, "key \"explain\" not found. Model 'plain' has these"),
        (
            "dense/explain",
            {"inputs": [x()], "parameters": {"signature_name": "other"}},
            400,
            "explains signature 'explain'",
        ),
        ("nobody/infer", {"inputs": [x()]}, 404, "Servable not found for request: Latest(nobody)"),
        ("dense/versions/9/infer", {"inputs": [x()]}, 404, "Specific(dense, 9)"),
        ("dense/versions/best/infer", {"inputs": [x()]}, 400, "Unrecognized servable version label: best"),
        ("dense/infer", {}, 400, "A request must have 'inputs', a list of objects"),
        ("dense/infer", {"inputs": [{}]}, 400, "'name' of an input must be a string"),
        ("dense/infer", {"inputs": [x(), x()]}, 400, "Received: 'x' twice"),
        ("dense/infer", {"inputs": [x(datatype="FP64")]}, 400, "Expects arg[0] to be float but double is provided"),
        ("dense/infer", {"inputs": [x(parameters={"shared_memory_region": "r"})]}, 501, "shared memory"),
        ("dense/infer", {"inputs": [x(parameters={"binary_data_size": 4})]}, 400, "'binary_data_size'. Received: both"),
        (
            "dense/infer",
            {"inputs": [{"name": "x", "shape": [1], "datatype": "FP32", "parameters": {"binary_data_size": 4}}]},
            400,
            "Received: 0 that are left",
        ),
        ("dense/infer", {"inputs": [x()], "parameters": {"sequence_id": 3}}, 501, "Sequences are not served"),
        ("dense/infer", {"inputs": [x()], "parameters": {"timeout": -1}}, 400, "whole number of microseconds"),
        ("dense/infer", {"inputs": [x()], "parameters": {"a": [1]}}, 400, "strings, numbers and booleans"),
        ("dense/infer", {"inputs": [x()], "id": 3}, 400, "'id' of the request must be a string"),
        ("dense/infer", {"inputs": [x()], "outputs": [{"name": "q"}]}, 400, "output tensor alias not found"),
    ],
)
def test_what_is_wrong_is_said(models: Path, path: str, request_body: Any, status: int, text: str) -> None:
    reply = ask(models, "POST", f"/v2/models/{path}", request_body)
    assert reply.status_code == status, reply.text
    assert text in reply.json().get("error", "")


@pytest.mark.parametrize("length", ["-1", "x", "9999", "1" * 30])
def test_a_wrong_length_of_the_json_is_refused(models: Path, length: str) -> None:
    headers = {"Inference-Header-Content-Length": length}
    reply = ask(models, "POST", "/v2/models/dense/infer", {"inputs": [x()]}, headers)
    assert reply.status_code == 400
    assert "Inference-Header-Content-Length" in reply.json()["error"]


def test_bytes_that_belong_to_no_input_are_refused() -> None:
    header = json.dumps({"inputs": [x()]}).encode()
    with pytest.raises(ServingError, match=r"take 0 bytes behind the JSON. Received: 3"):
        decode_request(header + b"abc", len(header))


@pytest.mark.parametrize(("sent", "wanted"), [("gzip", "deflate"), ("deflate", "gzip")])
def test_bodies_are_compressed_both_ways(models: Path, sent: str, wanted: str) -> None:
    compress = {"gzip": gzip.compress, "deflate": zlib.compress}[sent]
    body = compress(json.dumps({"inputs": [x()]}).encode())
    headers = {"Content-Encoding": sent, "Accept-Encoding": wanted}
    reply = ask(models, "POST", "/v2/models/dense/infer", body, headers)
    assert reply.headers["content-encoding"] == wanted
    assert reply.json()["outputs"][0]["shape"] == [2, 3]  # httpx inflates it


def test_metadata_and_configuration(models: Path) -> None:
    tensor = {"name": "x", "datatype": "FP32", "shape": [-1, 4]}
    scores = {"name": "probabilities", "datatype": "FP32", "shape": [-1, 3]}
    shared = {"name": "dense", "platform": "onnxruntime_onnx"}
    assert ask(models, "GET", "/v2/models/dense").json() == {
        **shared, "versions": ["2", "1"], "inputs": [tensor], "outputs": [scores],
    }  # fmt: skip
    config = ask(models, "GET", "/v2/models/dense/versions/1/config").json()
    assert config["input"] == [{"name": "x", "data_type": "TYPE_FP32", "dims": [-1, 4]}]
    assert [output["name"] for output in ask(models, "GET", "/v2/models/dense:explain").json()["outputs"]][
        1
    ] == "relevance"
    assert ask(models, "GET", "/v2/models/pair/config").json()["input"][2]["data_type"] == "TYPE_STRING"


def test_the_server_tells_of_itself(models: Path) -> None:
    server = ask(models, "GET", "/v2").json()
    assert server["name"] == "whyserve"
    assert {"binary_tensor_data", "explain"} <= set(server["extensions"])
    assert ask(models, "GET", "/v2/health/live").json() == {"live": True}
    assert ask(models, "GET", "/v2/health/ready?verbose=1").json() == {"ready": True}
    assert ask(models, "GET", "/v2/models").json() == {"models": ["dense", "double", "pair", "plain", "typed"]}
    assert ask(models, "GET", "/v2/models/dense/ready").json() == {"name": "dense", "ready": True}
    assert ask(models, "GET", "/v2/models/plain:explain/ready").status_code == 400
    assert ask(models, "POST", "/v2/repository/index").json()[0] == {
        "name": "dense", "version": "2", "state": "READY", "reason": "",
    }  # fmt: skip


def test_statistics_count_rows_and_batches(models: Path) -> None:
    async def run() -> Any:
        async with open_client(models) as client:
            for body in ({"inputs": [x()]}, {"inputs": [x(datatype="FP64")]}):
                await client.post("/v2/models/dense/infer", json=body)
            await client.post("/v1/models/dense:predict", json={"instances": X.tolist()})
            await client.get("/v1/models/dense/metadata")
            return (await client.get("/v2/models/dense/versions/2/stats")).json(), await client.get("/v2/models/stats")

    before_ms = time.time() * 1000
    counted, every = asyncio.run(run())
    (version,) = counted["model_stats"]
    assert before_ms - 1 <= version["last_inference"] <= time.time() * 1000 + 1
    assert (version["inference_count"], version["execution_count"]) == (4, 2)
    assert {name: each["count"] for name, each in version["inference_stats"].items()} == {
        "success": 2, "fail": 1, "queue": 2, "compute_input": 2, "compute_infer": 2, "compute_output": 2,
    }  # fmt: skip
    assert version["inference_stats"]["success"]["ns"] > version["inference_stats"]["compute_infer"]["ns"] > 0
    assert len(every.json()["model_stats"]) == 6
    assert [each["last_inference"] for each in every.json()["model_stats"] if not each["execution_count"]] == [0] * 5


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/v2/models/dense/infer", 405),
        ("POST", "/v2/models/dense", 405),
        ("GET", "/v2/repository/index", 405),
        ("GET", "/v2/nothing", 404),
        ("GET", "/v2/models/a/b/c", 404),
        ("POST", "/v2/repository/models/dense/load", 501),
        ("GET", "/v2/systemsharedmemory/status", 501),
        ("GET", "/v2/models/dense/trace/setting", 501),
        ("GET", "/v2/logging", 501),
    ],
)
def test_other_urls_say_what_there_is(models: Path, method: str, path: str, status: int) -> None:
    reply = ask(models, method, path)
    assert reply.status_code == status
    assert reply.json()["error"]


def test_names_are_decoded() -> None:
    route = find_v2_route("GET", "/v2/models/a%3Aexplain/versions/3/ready", "")
    assert (route.name, route.version, route.spec.name, route.spec.version) == ("a:explain", "3", "a", 3)


@given(st.binary(max_size=60), st.none() | st.integers(0, 80))
@settings(max_examples=200)
def test_any_body_is_a_request_or_refused(content: bytes, length: int | None) -> None:
    request, refused = outcome(lambda: decode_request(content, length))
    assert (request is None) == (refused is not None and bool(refused.message))


@given(
    st.fixed_dictionaries(
        {},
        optional={
            name: st.recursive(
                st.none()
                | st.booleans()
                | st.integers()
                | st.text(max_size=4)
                | st.sampled_from(["x", "FP32", "BYTES"]),
                lambda inner: (
                    st.lists(inner, max_size=3)
                    | st.dictionaries(
                        st.sampled_from(["name", "shape", "datatype", "data", "parameters", "binary_data_size"]), inner
                    )
                ),
                max_leaves=12,
            )
            for name in ("inputs", "outputs", "parameters", "id")
        },
    )
)
@settings(max_examples=200)
def test_any_document_is_a_request_or_refused(document: dict[str, Any]) -> None:
    _, refused = outcome(lambda: decode_request(json.dumps(document).encode(), None))
    assert refused is None or "Received" in refused.message or "must have" in refused.message
