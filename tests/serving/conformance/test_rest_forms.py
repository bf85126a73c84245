"""What TensorFlow Serving's REST interface takes and answers beyond plain JSON, a row each, over both engines."""

from typing import Any

import pytest

from tests.serving.conformance.server import Server
from tests.serving.conformance.test_rest_errors import Row, post

ENGINES = ["onnx", pytest.param("tensorflow", marks=pytest.mark.slow)]

# y of the float input x, by engine: a model that takes a batch of plain numbers.
FUNCTIONS = {
    "onnx": ("/v1/models/double:predict", lambda x: x + x),
    "tensorflow": ("/v1/models/half_plus_two:predict", lambda x: x / 2 + 2),
}


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize(
    ("body", "key", "values"),
    [
        (b'{"instances": [1, 2.5]}', "predictions", [1.0, 2.5]),
        (b'{"instances": [{"x": 1}, {"x": 3}]}', "predictions", [1.0, 3.0]),
        (b'{"inputs": [1]}', "outputs", [1.0]),
        (b'{"inputs": {"x": [4, 1e1]}}', "outputs", [4.0, 10.0]),
        (b'{"inputs": {"x": [4], "more": "is ignored"}}', "outputs", [4.0]),
        (b'{"signature_name": "serving_default", "instances": [1], "more": {}}', "predictions", [1.0]),
        (b'{"instances": [1]} bytes after the document', "predictions", [1.0]),
        (b' \n\t{"instances" : [1]}', "predictions", [1.0]),
    ],
)
def test_a_body_in_row_or_column_form_is_read(
    engine: str, body: bytes, key: str, values: list[float], request: pytest.FixtureRequest
) -> None:
    server: Server = request.getfixturevalue(engine)
    path, function = FUNCTIONS[engine]
    assert server.post(path, body) == (200, {key: [function(value) for value in values]})


@pytest.mark.slow
def test_a_column_may_be_a_scalar_and_row_form_an_empty_batch(tensorflow: Server) -> None:
    path = "/v1/models/half_plus_two:predict"
    assert tensorflow.post(path, {"inputs": 1.0}) == (200, {"outputs": 2.5})
    assert tensorflow.post(path, {"inputs": {"x": 1.0}}) == (200, {"outputs": 2.5})
    assert tensorflow.post(path, {"instances": [[]]}) == (200, {"predictions": [[]]})
    for tokens, answers in (("NaN", "NaN"), ("Inf", "Infinity"), ("-Infinity", "-Infinity"), ("1e39", "Infinity")):
        reply = tensorflow.send("POST", path, f'{{"instances": [{tokens}]}}'.encode())
        assert reply.content == f'{{"predictions":[{answers}]}}'.encode()


@pytest.mark.slow
def test_strings_go_in_as_text_or_base64_and_come_out_as_text(tensorflow: Server) -> None:
    body = {"signature_name": "classify_labels", "context": {"x": 1.0}, "examples": [{}]}
    assert tensorflow.post("/v1/models/half_plus_two:classify", body) == (
        200,
        {"results": [[["small", 0.0], ["large", 0.0]]]},
    )
    # Predict takes the serialized example itself, here of the float feature x = 4.
    serialized = {"b64": "Cg8KDQoBeBIIEgYKBAAAgEA="}
    body = {"signature_name": "classify_labels", "instances": [serialized]}
    assert tensorflow.post("/v1/models/half_plus_two:predict", body) == (200, {"predictions": [["small", "large"]]})


def test_bytes_come_out_as_base64_where_the_output_s_name_ends_so(onnx: Server) -> None:
    columns = {"a": [[1, 2]], "b": [[1, 1]], "text": [{"b64": "aGk="}]}
    expected = {"total": [[2.0, 3.0]], "echo_bytes": [{"b64": "aGk="}]}
    assert onnx.post("/v1/models/pair:predict", {"inputs": columns}) == (200, {"outputs": expected})


VALID = {"float64": 0.5, "int8": -5, "int32": 5, "int64": 5, "uint8": 5, "bool": True}


def typed(name: str, value: Any, text: str) -> Row:
    """A row of the model `typed` with one wrong value."""
    columns = {f"x_{each}": [value if each == name else valid] for each, valid in VALID.items()}
    return post(f"{name} {value}", "/v1/models/typed:predict", {"inputs": columns}, text)


def wrong(name: str, value: Any, shown: str, json_type: str, kind: str = "") -> Row:
    """A value of another type than the input's."""
    return typed(name, value, f"JSON Value: {shown} Type: {json_type} is not of expected type: {kind or name}")


@pytest.mark.parametrize(
    "row",
    [
        wrong("int32", 1.0, "1.0", "Number"),
        wrong("int32", 2**31, "2147483648", "Number"),
        wrong("int8", 1.5, "1.5", "Number"),
        wrong("int64", 2**63, "9223372036854775808", "Number"),
        wrong("int64", True, "true", "True"),
        wrong("uint8", "1", '"1"', "String"),
        wrong("bool", 1, "1", "Number"),
        wrong("float64", None, "null", "Null", "double"),
        wrong("float64", {"a": 1}, '{"a": 1}', "Object", "double"),
        post(
            "base64",
            "/v1/models/pair:predict",
            {"inputs": {"a": [[1, 2]], "b": [[1, 1]], "text": [{"b64": "!"}]}},
            "Unable to base64 decode",
        ),
    ],
    ids=lambda row: row.name,
)
def test_a_value_of_another_type_is_refused(onnx: Server, row: Row) -> None:
    assert onnx.post(row.path, row.body) == (row.status, {"error": row.text})


@pytest.mark.parametrize("engine", ENGINES)
def test_status_and_metadata_are_the_messages_as_json(engine: str, request: pytest.FixtureRequest) -> None:
    server: Server = request.getfixturevalue(engine)
    model, output = {"onnx": ("dense", "probabilities"), "tensorflow": ("half_plus_two", "y")}[engine]
    state = {"state": "AVAILABLE", "status": {"error_code": "OK", "error_message": ""}}
    assert server.send("GET", f"/v1/models/{model}").json() == {
        "model_version_status": [{"version": "2", **state}, {"version": "1", **state}]
    }
    metadata = server.send("GET", f"/v1/models/{model}/versions/1/metadata").json()
    assert metadata["model_spec"] == {"name": model, "signature_name": "", "version": "1"}
    signature = metadata["metadata"]["signature_def"]["signature_def"]["serving_default"]
    assert list(signature) == ["inputs", "outputs", "method_name", "defaults"]
    assert list(signature["inputs"]) == ["x"]
    assert list(signature["outputs"]) == [output]
    assert signature["defaults"] == {}
    assert signature["inputs"]["x"]["dtype"] == "DT_FLOAT"
    assert signature["inputs"]["x"]["tensor_shape"]["dim"][0] == {"size": "-1", "name": ""}
