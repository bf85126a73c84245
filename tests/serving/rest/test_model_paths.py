"""The document of the models that are served: what its schemas admit is answered, and what they don't is refused."""

import asyncio
import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import httpx
import jsonschema_rs
import numpy as np
import pytest

from serving.metrics import Metrics
from serving.rest.app import create_app
from serving.rest.model_paths import MAX_MODEL_PATHS
from serving.rest.openapi import openapi_document
from serving.types import ServedVersion, Signature, TensorInfo
from tests.serving.rest.planes import open_data_plane

ROW = [1.0, 2.0, 3.0, 4.0]
TENSOR = {"name": "x", "datatype": "FP32", "shape": [1, 4], "data": ROW}
FEATURES = [0.5, 1.5, 2.5, 3.5]
BODIES: Mapping[str, list[Any]] = {
    "/v1/models/dense:predict": [
        {"instances": [ROW, ROW]},
        {"instances": [{"x": ROW}]},
        {"inputs": [ROW]},
        {"inputs": {"x": [ROW], "more": 1}},
        {"instances": [ROW], "signature_name": "explain"},
        {"instances": [{"x": ROW, "target": 2}], "signature_name": "explain_target"},
        {"instances": [{"x": ROW, "target": 3}], "signature_name": "explain_target"},
        {"instances": [ROW], "signature_name": "other"},
        {"instances": [ROW], "inputs": [ROW]},
        {"instances": [ROW, {"x": ROW}]},
        {"instances": [ROW[:3]]},
        {"instances": [[*ROW[:3], "4"]]},
        {"instances": [[*ROW[:3], 1e39]]},
        {"instances": [[*ROW[:3], 3.4028235e38]]},
        {"instances": []},
        {"instances": [{"x": ROW, "more": 1}]},
        {},
        [],
    ],
    "/v1/models/dense/versions/1:explain": [
        {"instances": [ROW]},
        {"instances": [ROW], "parameters": None},
        {"instances": [ROW], "parameters": {"target": "b", "top_k": None}},
        {"instances": [ROW], "parameters": {"target": "d"}},
        {"instances": [ROW], "parameters": {"target": 3}},
        {"instances": [ROW], "parameters": {"target": [0]}},
        {"instances": [ROW, ROW], "parameters": {"target": ["a", -1]}},
        {"instances": [ROW, ROW], "parameters": {"target": [0]}},
        {"instances": [ROW], "parameters": {"target": 0, "contrast": "b"}},
        {"instances": [ROW], "parameters": {"target": 0, "contrast": "a"}},
        {"instances": [ROW], "parameters": {"target": -1, "contrast": -1}},
        {"instances": [ROW], "parameters": {"contrast": 2}},
        {"instances": [ROW], "parameters": {"top_k": 3}},
        {"instances": [ROW], "parameters": {"top_k": 4}},
        {"instances": [ROW], "parameters": {"top_k": 1, "target": 0}},
        {"instances": [ROW], "parameters": {"more": 1}},
        {"instances": [ROW], "signature_name": "explain_target"},
    ],
    "/v1/models/dense:classify": [
        {"examples": [{"x": FEATURES}]},
        {"examples": [{"x": FEATURES, "more": "text"}], "context": {"shared": 1}},
        {"examples": [{"x": FEATURES[:3]}]},
        {"examples": [{"x": [1, 2, 3, 4]}]},
        {"examples": [{}]},
        {"examples": []},
        {"examples": [{"x": FEATURES, "more": [1, "text"]}]},
    ],
    "/v2/models/dense/infer": [
        {"inputs": [TENSOR]},
        {"inputs": [{**TENSOR, "data": [ROW]}], "id": "7", "parameters": {"more": 1}},
        {"inputs": [TENSOR], "outputs": [{"name": "probabilities"}]},
        {"inputs": [TENSOR], "outputs": [{"name": "other"}]},
        {"inputs": [TENSOR], "outputs": [{"name": "probabilities"}, {"name": "probabilities"}]},
        {"inputs": [{**TENSOR, "shape": [2, 4]}]},
        {"inputs": [{**TENSOR, "shape": [2, 4], "data": ROW * 2}]},
        {"inputs": [{**TENSOR, "datatype": "FP64"}]},
        {"inputs": [TENSOR, TENSOR]},
        {"inputs": [TENSOR], "parameters": {"signature_name": "explain"}},
        {"inputs": [TENSOR], "parameters": {"more": [1]}},
    ],
    "/v2/models/dense/explain": [
        {"inputs": [TENSOR], "parameters": {"target": 1, "contrast": 2}},
        {"inputs": [TENSOR], "parameters": {"target": 1, "contrast": "b"}},
        {"inputs": [TENSOR], "parameters": {"target": 9}},
        {"inputs": [TENSOR], "parameters": {"top_k": -1}},
    ],
}


@pytest.fixture(scope="module")
def answered(models):
    """The document of a server, and the status of each of `BODIES`."""

    async def ask() -> tuple[dict[str, Any], dict[str, list[int]]]:
        metrics = Metrics()
        async with open_data_plane(models, metrics) as plane:
            transport = httpx.ASGITransport(create_app(plane, metrics))
            async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
                document = (await client.get("/openapi.json")).json()
                statuses = {
                    path: [(await client.post(path, content=json.dumps(body))).status_code for body in bodies]
                    for path, bodies in BODIES.items()
                }
                return document, statuses

    return asyncio.run(ask())


def validator_of(document: dict[str, Any], path: str) -> jsonschema_rs.Draft202012Validator:
    content = document["paths"][path]["post"]["requestBody"]["content"]["application/json"]
    return jsonschema_rs.Draft202012Validator({**content["schema"], "components": document["components"]})


@pytest.mark.parametrize(("path", "index"), [(path, index) for path in BODIES for index in range(len(BODIES[path]))])
def test_a_body_is_admitted_by_its_schema_where_it_is_answered(answered, path, index):
    document, statuses = answered
    admitted = validator_of(document, path).is_valid(BODIES[path][index])
    assert statuses[path][index] == (200 if admitted else 400), BODIES[path][index]


def test_the_examples_are_admitted(answered):
    document, _ = answered
    found = 0
    for path, item in document["paths"].items():
        content = item.get("post", {}).get("requestBody", {}).get("content", {}).get("application/json", {})
        if "example" in content:
            assert validator_of(document, path).is_valid(content["example"]), path
            found += 1
    assert found >= 8


def test_what_a_model_can_not_answer_is_not_offered(answered):
    document, _ = answered
    assert "/v1/models/dense:regress" not in document["paths"]  # three scores are no value
    assert "/v1/models/{name}:predict" not in document["paths"]


def version(number: int = 1, name: str = "m", **inputs: tuple[Any, tuple[int | None, ...] | None]) -> ServedVersion:
    tensors = {each: TensorInfo(each, np.dtype(dtype), shape) for each, (dtype, shape) in inputs.items()}
    y = TensorInfo("y", np.dtype(np.float32), (None, 1))
    return ServedVersion(name, number, newest=True, signatures={"serving_default": Signature(tensors, {"y": y})})


@pytest.mark.parametrize(
    ("inputs", "body", "admitted"),
    [
        ({"x": (np.float32, (None, None))}, {"instances": [[1, 2, 3]]}, True),
        ({"x": (np.float32, (None, None))}, {"instances": [[1, 2], [3, 4], [5, 6]]}, True),
        ({"x": (np.float32, (None, None))}, {"instances": [[1, 2], [3]]}, False),
        ({"x": (np.float32, (None, None, 2))}, {"instances": [[[1, 2], [3, 4], [5, 6]]]}, True),
        ({"x": (np.float32, (None, None, 2))}, {"instances": [[[1, 2], [3]]]}, False),
        ({"x": (object, (None,))}, {"instances": ["a", {"b64": "YQ"}]}, True),
        ({"x": (object, (None,))}, {"instances": [{"b64": "*"}]}, False),
        ({"x": (np.bool_, (None,))}, {"instances": [True]}, True),
        ({"x": (np.bool_, (None,))}, {"instances": [1]}, False),
        ({"x": (np.int8, (None,))}, {"instances": [2**31 - 1]}, True),  # TensorFlow Serving reads int32 and cuts
        ({"x": (np.int8, (None,))}, {"instances": [2**31]}, False),
        ({"x": (np.float32, ())}, {"inputs": 1.5}, True),
        ({"x": (np.float32, ())}, {"instances": [1.5]}, False),
        ({"a": (np.float32, (None,)), "b": (np.int64, (None,))}, {"instances": [{"a": 1, "b": 2}]}, True),
        ({"a": (np.float32, (None,)), "b": (np.int64, (None,))}, {"instances": [{"a": 1}]}, False),
        ({"a": (np.float32, (None,)), "b": (np.int64, (None,))}, {"inputs": {"a": [1, 2], "b": [1, 2]}}, True),
        ({"a": (np.float32, (None,)), "b": (np.int64, (None,))}, {"inputs": {"a": [1, 2], "b": [1]}}, False),
    ],
)
def test_schemas_say_what_shapes_and_types_agree(inputs, body, admitted):
    document = openapi_document(versions=[version(**inputs)])
    assert validator_of(document, "/v1/models/m:predict").is_valid(body) == admitted


def test_types_that_json_lacks_are_not_offered():
    document = openapi_document(versions=[version(x=(np.float16, (None,)))])
    assert "/v1/models/m:predict" not in document["paths"]
    assert "/v2/models/m/infer" in document["paths"]


def test_labels_have_urls_and_names_are_quoted():
    document = openapi_document(versions=[replace(version(3, "a b", x=(np.float32, (None,))), labels=("stable",))])
    assert {"/v1/models/a%20b/labels/stable:predict", "/v1/models/a%20b/labels/stable"} <= document["paths"].keys()


def test_the_document_of_hundreds_of_models_is_bounded_and_describes_the_others_in_general():
    versions = [version(name=f"m{number}", x=(np.float32, (None, 8))) for number in range(500)]
    document = openapi_document(versions=versions)
    assert len(document["paths"]) < MAX_MODEL_PATHS + 50
    assert len(json.dumps(document)) < 2_000_000
    assert "/v1/models/{name}:predict" in document["paths"]
    assert document["components"]["parameters"]["name"]["schema"]["enum"] == sorted(each.name for each in versions)
    names = [
        operation["operationId"]
        for item in document["paths"].values()
        for operation in item.values()
        if isinstance(operation, dict)
    ]
    assert len(names) == len(set(names))
