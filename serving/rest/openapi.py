"""The OpenAPI document of the REST interface."""

from typing import Any

from serving.errors import Code
from serving.rest.limits import Limits
from serving.rest.routes import LIVENESS, METRICS, MODELS, OPENAPI, READINESS
from serving.types import State

Schema = dict[str, Any]

# Version of the interface, the one in its URLs; not of the program.
API_VERSION = "1"

_VERSION = {"type": "string", "pattern": "^[0-9]+$"}


def openapi_document() -> dict[str, Any]:
    """Describes every URL, OpenAPI 3.1."""
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Whyserve",
            "version": API_VERSION,
            "description": "TensorFlow Serving's REST interface, with explanations beside the predictions. Requests "
            "need no Content-Type. NaN, Infinity and -Infinity are taken and written as bare tokens, which JSON lacks. "
            f"Bodies may be sent with `Content-Encoding: gzip`; by default they hold {Limits().max_body_bytes} bytes.",
        },
        "paths": {**_model_paths(), **_server_paths()},
        "components": {"schemas": _schemas(), "responses": _responses(), "parameters": _parameters()},
    }


def _model_paths() -> dict[str, Any]:
    paths: dict[str, Any] = {}
    for selector, parameters in (
        ("", ["name"]),
        ("/versions/{version}", ["name", "version"]),
        ("/labels/{label}", ["name", "label"]),
    ):
        base, suffix = f"{MODELS}/{{name}}{selector}", selector.split("/")[1].capitalize() if selector else ""
        shared = {"parameters": [_ref("parameters", name) for name in parameters]}
        paths[base] = {
            **shared,
            "get": _operation(f"getStatus{suffix}", "State of a model's versions, newest first", "Status"),
        }
        paths[f"{base}/metadata"] = {
            **shared,
            "get": _operation(f"getMetadata{suffix}", "Signatures of a model: names, types, shapes", "Metadata"),
        }
        paths[f"{base}:predict"] = {
            **shared,
            "post": _inference(f"predict{suffix}", "Predictions of a signature", "PredictRequest", "Predictions"),
        }
        paths[f"{base}:explain"] = {
            **shared,
            "post": _inference(
                f"explain{suffix}", "Predictions and the reasons for them", "ExplainRequest", "Explanations"
            ),
        }
    return paths


def _server_paths() -> dict[str, Any]:
    return {
        MODELS: {"get": _operation("listModels", "Every model and the state of its versions", "Models", errors=())},
        LIVENESS: {"get": _operation("getLiveness", "Answers as long as the process does", "State", errors=())},
        READINESS: {
            "get": _operation(
                "getReadiness",
                "Whether the models are loaded and the server is not stopping",
                "State",
                errors=("Unavailable",),
            )
        },
        METRICS: {
            "get": {
                "operationId": "getMetrics",
                "summary": "Metrics in Prometheus' text format",
                "responses": {
                    "200": {"description": "The metrics", "content": {"text/plain": {"schema": {"type": "string"}}}},
                    **_errors(()),
                },
            }
        },
        OPENAPI: {
            "get": {
                "operationId": "getOpenapi",
                "summary": "This document",
                "responses": {
                    "200": {
                        "description": "OpenAPI 3.1",
                        "content": {"application/json": {"schema": {"type": "object"}}},
                    },
                    **_errors(()),
                },
            }
        },
    }


def _operation(
    operation_id: str, summary: str, reply: str, *, errors: tuple[str, ...] = ("Invalid", "NotFound")
) -> Schema:
    return {
        "operationId": operation_id,
        "summary": summary,
        "responses": {"200": _content("The answer", reply), **_errors(errors)},
    }


def _inference(operation_id: str, summary: str, request: str, reply: str) -> Schema:
    names = tuple(name for name in _ERRORS if name != "MethodNotAllowed")
    return {
        **_operation(operation_id, summary, reply, errors=names),
        "requestBody": {"required": True, "content": {"application/json": {"schema": _ref("schemas", request)}}},
    }


_ERRORS = {
    "Invalid": (
        "400",
        "The request can't be answered as it is: malformed, of the wrong type or shape, or no such signature",
    ),
    "NotFound": ("404", "No such model or version is served"),
    "MethodNotAllowed": ("405", "Another method is needed, which the header Allow names"),
    "Timeout": ("408", "The body did not arrive in time"),
    "TooLarge": ("413", "The body is larger than the server takes"),
    "Encoding": ("415", "Content-Encoding is neither gzip nor absent"),
    "Exhausted": ("429", "The queue is full; Retry-After says when to come again"),
    "Internal": ("500", "The server failed"),
    "Unimplemented": ("501", "JSON has nothing for the type of an input: ask over gRPC"),
    "Unavailable": ("503", "Not ready: loading or stopping"),
    "Deadline": ("504", "The answer took longer than the server's time limit"),
}


def _errors(names: tuple[str, ...]) -> Schema:
    return {_ERRORS[name][0]: _ref("responses", name) for name in (*names, "MethodNotAllowed")}


def _responses() -> Schema:
    return {name: _content(text, "Error") for name, (_, text) in _ERRORS.items()}


def _parameters() -> Schema:
    segment = {"type": "string", "minLength": 1, "pattern": "^[^/:]+$"}
    return {
        "name": {"name": "name", "in": "path", "required": True, "schema": segment, "description": "The model"},
        "version": {
            "name": "version",
            "in": "path",
            "required": True,
            "schema": {"type": "integer", "format": "int64", "minimum": 0, "maximum": 2**63 - 1},
            "description": "A version that is served; without it the newest one answers",
        },
        "label": {
            "name": "label",
            "in": "path",
            "required": True,
            "schema": segment,
            "description": "A version's label",
        },
    }


def _schemas() -> Schema:
    return {**_request_schemas(), **_reply_schemas(), **_attribution_schemas()}


def _request_schemas() -> Schema:
    signature = {"type": "string", "description": "`serving_default` where absent"}
    row = {
        "type": "array",
        "minItems": 1,
        "items": _ref("schemas", "Value"),
        "description": "Row form: one element an instance, bare where the signature has one input, else an object",
    }
    column = {
        **_ref("schemas", "Value"),
        "description": "Column form: one value where the signature has one input, or an object of a value for each",
    }
    forms = [
        {"required": ["instances"], "not": {"required": ["inputs"]}},
        {"required": ["inputs"], "not": {"required": ["instances"]}},
    ]
    properties = {"signature_name": signature, "instances": row, "inputs": column}
    parameters = {"oneOf": [_ref("schemas", "ExplainParameters"), {"type": "null"}]}
    return {
        "Value": {
            "description": 'A number, string, boolean, `{"b64": "..."}` for bytes, or lists of them, of one shape',
            "type": ["number", "string", "boolean", "array", "object"],
        },
        "PredictRequest": {"type": "object", "properties": properties, "oneOf": forms},
        "ExplainRequest": {"type": "object", "properties": {**properties, "parameters": parameters}, "oneOf": forms},
        "ExplainParameters": {
            "type": "object",
            "additionalProperties": False,
            "description": "`target` and `top_k` exclude each other",
            "properties": {
                "target": {
                    "description": "The class to explain, by index or label, one for all instances or a list with one "
                    "for each; -1 or absent: the predicted class",
                    "oneOf": [
                        _ref("schemas", "Target"),
                        {"type": "array", "items": _ref("schemas", "Target")},
                        {"type": "null"},
                    ],
                },
                "top_k": {
                    "description": "Explain the classes with the highest scores, this many; -1: all",
                    "oneOf": [{"type": "integer", "minimum": 1}, {"const": -1}, {"type": "null"}],
                },
            },
        },
        "Target": {"oneOf": [{"type": "integer", "minimum": -1, "maximum": 2**31 - 1}, {"type": "string"}]},
    }


def _reply_schemas() -> Schema:
    states = [state.name for state in State]
    status = _object({"error_code": {"enum": [code.name for code in Code]}, "error_message": {"type": "string"}})
    version = _object({"version": _VERSION, "state": {"enum": states}, "status": status})
    versions = {"model_version_status": {"type": "array", "items": version}}
    rows = {"predictions": {"type": "array", "items": _ref("schemas", "Value")}}
    columns = {"outputs": _ref("schemas", "Value")}
    explanations = {"explanations": {"type": "array", "items": _ref("schemas", "Explanation")}}
    model_spec = _object({"name": {"type": "string"}, "signature_name": {"type": "string"}, "version": _VERSION})
    return {
        "Predictions": {"oneOf": [_object(rows), _object(columns)]},
        "Explanations": {"oneOf": [_object({**rows, **explanations}), _object({**columns, **explanations})]},
        "Status": _object(versions),
        "Models": _object({"models": {"type": "array", "items": _object({"name": {"type": "string"}, **versions})}}),
        "Metadata": _object(
            {
                "model_spec": model_spec,
                "metadata": _object({"signature_def": _object({"signature_def": _map(_ref("schemas", "Signature"))})}),
            }
        ),
        "Signature": _object(
            {
                "inputs": _map(_ref("schemas", "TensorInfo")),
                "outputs": _map(_ref("schemas", "TensorInfo")),
                "method_name": {"type": "string"},
                "defaults": _map({"type": "object"}),
            }
        ),
        "TensorInfo": _object(
            {
                "name": {"type": "string"},
                "dtype": {"type": "string", "pattern": "^DT_"},
                "tensor_shape": _object(
                    {
                        "dim": {
                            "type": "array",
                            "items": _object(
                                {"size": {"type": "string", "pattern": "^(-1|[0-9]+)$"}, "name": {"type": "string"}}
                            ),
                        },
                        "unknown_rank": {"type": "boolean"},
                    }
                ),
            }
        ),
        "State": _object({"status": {"enum": ["alive", "ready"]}}),
        "Error": _object(
            {"error": {"type": "string", "description": "What was expected, what came, how to put it right"}}
        ),
    }


def _attribution_schemas() -> Schema:
    attribution = {
        "outputName": {"type": "string", "description": "The output that is explained"},
        "outputIndex": {"type": "array", "items": {"type": "integer"}, "minItems": 1, "description": "The class in it"},
        "instanceOutputValue": {"type": "number", "description": "Its score before softmax or sigmoid"},
        "baselineOutputValue": {"const": 0.0, "description": "Relevance propagation has no baseline"},
        "approximationError": {
            "type": "number",
            "description": "|instanceOutputValue - sum of the relevance| / |instanceOutputValue|: what the network's "
            "biases and stabilizers took up",
        },
        "featureAttributions": {
            **_map(_ref("schemas", "Value")),
            "description": "For each input its relevance, in the input's own shape",
        },
    }
    schema = _object(attribution)
    schema["properties"]["outputDisplayName"] = {
        "type": "string",
        "description": "The class label, where the model has labels",
    }
    return {
        "Attribution": schema,
        "Explanation": _object(
            {"attributions": {"type": "array", "minItems": 1, "items": _ref("schemas", "Attribution")}}
        ),
    }


def _object(properties: Schema) -> Schema:
    return {"type": "object", "required": list(properties), "properties": properties, "additionalProperties": False}


def _map(values: Schema) -> Schema:
    return {"type": "object", "additionalProperties": values}


def _content(text: str, schema: str) -> Schema:
    return {"description": text, "content": {"application/json": {"schema": _ref("schemas", schema)}}}


def _ref(section: str, name: str) -> Schema:
    return {"$ref": f"#/components/{section}/{name}"}
