"""The table of REST errors of TensorFlow Serving, a row each: method, URL, body, status and text, over both engines.

Where Whyserve differs on purpose the row says so: `GET /v1/models` lists models, a wrong method is 405 and names the
right one, a URL outside of `/v1/` is a 404 in JSON, values shown in an error stand on one line.
"""

from dataclasses import dataclass
from typing import Any

import pytest

from tests.serving.conformance.server import Server

MODELS = {"onnx": "dense", "tensorflow": "half_plus_two"}
ENGINES = ["onnx", pytest.param("tensorflow", marks=pytest.mark.slow)]

PREDICT, CLASSIFY, REGRESS = (f"/v1/models/MODEL:{verb}" for verb in ("predict", "classify", "regress"))


@dataclass(frozen=True)
class Row:
    """One request and its refusal; MODEL stands for a model with the one input `x`, of floats."""

    name: str
    method: str
    path: str
    body: Any
    status: int
    text: str


def post(name: str, path: str, body: Any, text: str, status: int = 400) -> Row:
    """A row with a body."""
    return Row(name, "POST", path, body, status, text)


def get(name: str, path: str, text: str, status: int = 404) -> Row:
    """A row without."""
    return Row(name, "GET", path, None, status, text)


def element(text: str, index: int = 0, key: str = "") -> str:
    """How row form introduces what is wrong with one instance."""
    key = f" key: {key}" if key else ""
    return f"Failed to process element: {index}{key} of 'instances' list. Error: INVALID_ARGUMENT: {text}"


def url_rows() -> list[Row]:
    """What a URL asks for that isn't there, and URLs that are none."""
    body = {"instances": [1.0], "examples": [{"x": 1.0}]}
    rows = []
    for verb in ("predict", "classify", "regress"):
        rows += [
            post(f"{verb} model", f"/v1/models/nope:{verb}", body, "Servable not found for request: Latest(nope)", 404),
            post(
                f"{verb} version",
                f"/v1/models/MODEL/versions/99:{verb}",
                body,
                "Servable not found for request: Specific(MODEL, 99)",
                404,
            ),
            post(
                f"{verb} label",
                f"/v1/models/MODEL/labels/stable:{verb}",
                body,
                "Unrecognized servable version label: stable",
            ),
            post(
                f"{verb} query",
                f"/v1/models/MODEL:{verb}?a=b",
                body,
                f"Malformed request: POST /v1/models/MODEL:{verb}?a=b",
            ),
            # TensorFlow Serving: 400, without the advice.
            get(
                f"{verb} method",
                f"/v1/models/MODEL:{verb}",
                f"Malformed request: GET /v1/models/MODEL:{verb}. Use POST.",
                405,
            ),
        ]
    malformed = ("/v1/models/MODEL:multiInference", "/v1/models/MODEL/versions/a:predict", "/v1/MODEL:predict")
    rows += [post(path, path, body, f"Malformed request: POST {path}") for path in malformed]
    return [
        *rows,
        get("status model", "/v1/models/nope", "Could not find any versions of model nope"),
        get("status version", "/v1/models/MODEL/versions/99", "Could not find version 99 of model MODEL"),
        get("metadata model", "/v1/models/nope/metadata", "Servable not found for request: Latest(nope)"),
        get(
            "metadata version",
            "/v1/models/MODEL/versions/99/metadata",
            "Servable not found for request: Specific(MODEL, 99)",
        ),
        get(
            "metadata label",
            "/v1/models/MODEL/labels/stable/metadata",
            "Unrecognized servable version label: stable",
            400,
        ),
    ]


def json_rows() -> list[Row]:
    """Bodies that are no JSON object, and keys of another type, whatever the verb."""
    rows = []
    for path in (PREDICT, CLASSIFY, REGRESS):
        verb = path.rpartition(":")[2]
        rows += [
            post(f"{verb} empty", path, b"", "JSON Parse error: The document is empty"),
            post(f"{verb} no JSON", path, b"nope", "JSON Parse error: Invalid value. at offset: 0"),
            post(f"{verb} list", path, b"[1]", "JSON Value: [1] Is not object"),
            post(
                f"{verb} signature name",
                path,
                {"signature_name": 5},
                'JSON Value: {"signature_name": 5} not formatted correctly. '
                "'signature_name' key must be a string value.",
            ),
        ]
    return rows


def predict_rows() -> list[Row]:
    """Row and column form."""

    def row(name: str, body: Any, text: str) -> Row:
        return post(name, PREDICT, body, text)

    one = {"instances": [1.0]}
    return [
        row("signature", {**one, "signature_name": "S"}, 'Serving signature name: "S" not found in signature def'),
        row("no key", {}, "Missing 'inputs' or 'instances' key"),
        row(
            "both keys",
            {"instances": [1.0], "inputs": [1.0]},
            'JSON Value: {"instances": [1.0], "inputs": [1.0]} Not formatted correctly expecting only one of '
            "'inputs' or 'instances' keys to exist ",
        ),
        row("no list", {"instances": 1}, "JSON Value: {\"instances\": 1} Excepting 'instances' to be an list/array"),
        row("none", {"instances": []}, "JSON Value: {\"instances\": []} No values in 'instances' array"),
        row(
            "type",
            {"instances": ["x"]},
            element('JSON Value: "x" Type: String is not of expected type: float'),
        ),
        row(
            "type of a key",
            {"instances": [{"x": True}]},
            element("JSON Value: true Type: True is not of expected type: float", key="x"),
        ),
        row("size", {"instances": [[1, 2], [1, 2, 3]]}, element("Expecting tensor size: 2 but got: 3", 1)),
        row("shape", {"instances": [[1, 2], [[1, 2]]]}, element("Expecting shape [2] but got: [1,2]", 1)),
        row(
            "level",
            {"instances": [[1, [2]]]},
            element("Encountered list at unexpected level: 1 expected < 1"),
        ),
        row(
            "ragged",
            {"instances": [[[1, 2], [1]]]},
            element("Encountered list at unexpected size: 1 at level: 1 expected size: 2"),
        ),
        row("key", {"instances": [{"k": 1.0}]}, element("JSON object: does not have named input: k", key="k")),
        row(
            "no key in an object",
            {"instances": [{"x": 1.0}, {}]},
            "Failed to process element: 1 of 'instances' list. JSON object: {} keys must be equal to: x",
        ),
        row("list first", {"instances": [{"x": 1.0}, [1.0]]}, "Expecting object but got list at item 1 of input list"),
        row(
            "object later",
            {"instances": [[1.0], {"x": 1.0}]},
            "Expecting value/list but got object at item 1 of input list",
        ),
        row("column name", {"inputs": {"y": 1.0}}, "Missing named input: x in 'inputs' object."),
        row(
            "column type",
            {"inputs": {"x": "a"}},
            'JSON Value: "a" Type: String is not of expected type: float',
        ),
    ]


def examples_rows() -> list[Row]:
    """`:classify` and `:regress`, which share their texts."""
    rows = []
    for path in (CLASSIFY, REGRESS):
        verb = path.rpartition(":")[2]

        def row(name: str, body: Any, text: str, path: str = path, verb: str = verb) -> Row:
            return post(f"{verb} {name}", path, body, text)

        def feature(name: str, value: Any, text: str, row: Any = row) -> Row:
            return row(name, {"examples": [{"f": value}]}, text)

        kind = "Unexpected element type in feature: f expecting type: "
        json_type = "Feature: f has element with unexpected JSON type: "
        rows += [
            row(
                "signature",
                {"examples": [{"x": 1.0}], "signature_name": "S"},
                "No signature was found with the name: S",
            ),
            row(
                "no examples",
                {"instances": []},
                "JSON Value: {\"instances\": []} When method is classify, key 'examples' is expected and was not found",
            ),
            row(
                "no list",
                {"examples": {}},
                "JSON Value: {\"examples\": {}} Expecting 'examples' value to be an list/array",
            ),
            row("empty", {"examples": []}, "JSON Value: {\"examples\": []} 'examples' value is an empty array"),
            row("no object", {"examples": [1]}, "Example must be JSON object but got JSON Number"),
            row(
                "context",
                {"examples": [{}], "context": [1.0]},
                "Example must be JSON object but got JSON Array",
            ),
            feature("int after float", [1.5, 2], f"{kind}float"),
            feature("float after int", [2, 1.5], f"{kind}int64"),
            feature("string after float", [1.5, "a"], f"{kind}float"),
            feature("bool after string", ["a", True], f"{kind}bytes"),
            feature("b64 after bool", [True, {"b64": "YQ=="}], f"{kind}int64"),
            feature("null", None, f"{json_type}Null"),
            feature("list in a list", [[1.0]], f"{json_type}Array"),
            feature("object", {"a": 1}, f"{json_type}Object"),
            feature("base64", {"b64": "!"}, "Unable to base64 decode"),
            feature("uint64", 2**63, "Feature: f has uint64 element. Only int64 is supported."),
        ]
    return rows


def dense_rows() -> list[Row]:
    """What a bundle's input makes of the types that JSON gives a feature."""
    where = "Name: <unknown>, Key: x, Index: 0.  "
    return [
        post(
            "integers for floats",
            CLASSIFY,
            {"examples": [{"x": [1, 2, 3, 4]}]},
            where + "Data types don't match. Data type: int64 but expected type: float",
        ),
        post(
            "strings for floats",
            CLASSIFY,
            {"examples": [{"x": "a"}]},
            where + "Data types don't match. Data type: string but expected type: float",
        ),
        post(
            "too few",
            CLASSIFY,
            {"examples": [{"x": [1.0, 2.0]}]},
            where + "Number of float values != expected.  Values size: 2 but output shape: [4]",
        ),
        post(
            "an empty list",
            CLASSIFY,
            {"examples": [{"x": []}]},
            "Name: <unknown>, Feature: x (data type: float) is required but could not be found.",
        ),
        post(
            "several inputs as a list",
            "/v1/models/pair:predict",
            {"instances": [1.0]},
            "instances is a plain list, but expecting list of objects as multiple input tensors required as per "
            "tensorinfo_map",
        ),
        post(
            "a value for several inputs",
            "/v1/models/pair:predict",
            {"inputs": [1.0]},
            "inputs is a plain value/list, but expecting an object as multiple input tensors required as per "
            "tensorinfo_map",
        ),
    ]


def graph_rows() -> list[Row]:
    """What a graph that parses examples answers."""
    node = "\n\t [[{{node tf_example_parsed}}]]"
    where = "Name: <unknown>, Key: x, Index: 0.  "

    def row(name: str, x: Any, text: str) -> Row:
        return post(name, REGRESS, {"signature_name": "regress", "examples": [x]}, text + node)

    def predicted(signature: str, key: str, text: str, status: int = 400) -> Row:
        return post(f"{signature} {key}", PREDICT, {"signature_name": signature, key: [1.0]}, text, status)

    half = "Conversion of JSON Value: 1.0 to type: half"
    return [
        predicted("half", "inputs", half, 501),
        predicted("half", "instances", element(half).replace("INVALID_ARGUMENT", "UNIMPLEMENTED")),
        predicted("scalar", "instances", "Tensor name: y has no shape information "),
        predicted("two_batches", "instances", "Tensor name: y has inconsistent batch size: 1 expecting: 2"),
        row(
            "an integer for a float",
            {"x": 2},
            where + "Data types don't match. Data type: int64 but expected type: float",
        ),
        row("nothing", {}, "Name: <unknown>, Feature: x (data type: float) is required but could not be found."),
    ]


def table(engine: str) -> list[Any]:
    """All rows for an engine, as parameters."""
    rows = [*url_rows(), *json_rows(), *predict_rows(), *examples_rows()]
    rows += dense_rows() if engine == "onnx" else graph_rows()
    marks = [] if engine == "onnx" else [pytest.mark.slow]
    return [pytest.param(engine, row, id=f"{engine}-{row.method}-{row.name}", marks=marks) for row in rows]


@pytest.mark.parametrize(("engine", "row"), [*table("onnx"), *table("tensorflow")])
def test_a_refusal_has_tensorflow_serving_s_status_and_text(
    engine: str, row: Row, request: pytest.FixtureRequest
) -> None:
    server: Server = request.getfixturevalue(engine)
    reply = server.send(row.method, row.path.replace("MODEL", MODELS[engine]), row.body)
    assert reply.headers["content-type"] == "application/json"
    assert reply.json() == {"error": row.text.replace("MODEL", MODELS[engine])}
    assert reply.status_code == row.status


@pytest.mark.parametrize("engine", ENGINES)
def test_urls_may_be_in_any_case_but_for_names(engine: str, request: pytest.FixtureRequest) -> None:
    server: Server = request.getfixturevalue(engine)
    model = MODELS[engine]
    reply = server.send("GET", f"/V1/Models/{model}/VERSIONS/1")
    assert [version["version"] for version in reply.json()["model_version_status"]] == ["1"]
    assert server.send("GET", f"/v1/models/{model.upper()}").status_code == 404
    assert server.post(f"/V1/MODELS/{model}:CLASSIFY", {})[1]["error"].endswith(
        "'examples' is expected and was not found"
    )
