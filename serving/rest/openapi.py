"""The OpenAPI document of the REST interface."""

from collections.abc import Collection, Sequence
from typing import Any

from serving.errors import Code
from serving.rest.admin import admin_paths, admin_schemas
from serving.rest.limits import Limits
from serving.rest.model_paths import MAX_LISTED_NAMES, MakeOperation, ModelPaths
from serving.rest.routes import LIVENESS, METRICS, MODELS, OPENAPI, READINESS
from serving.rest.tensor_schemas import BYTES
from serving.rest.v2.openapi import v2_inference, v2_paths, v2_schemas
from serving.types import ServedVersion, State

Schema = dict[str, Any]

# Version of the interface, the one in its URLs; not of the program.
API_VERSION = "1"

_VERSION = {"type": "string", "pattern": "^[0-9]+$"}
# A number of an answer may be NaN or infinite, bare tokens that are of no type of JSON.
_NUMBER = {"not": {"type": ["string", "boolean", "array", "object"]}}


def openapi_document(
    open_paths: Collection[str] | None = None,
    metrics_path: str = METRICS,
    *,
    admin: bool = False,
    versions: Sequence[ServedVersion] = (),
) -> dict[str, Any]:
    """Describes every URL, OpenAPI 3.1: those of the models that are served with what their signatures take.

    Args:
        open_paths: The paths that need no token where the others do; None: none does.
        metrics_path: Where the metrics are; empty: nowhere.
        admin: Whether models can be added and removed.
        versions: What is served. Without any, and of those that find no room, the general form is described.
    """
    served = ModelPaths(_model_operations())
    served.add(versions)
    general = not versions or not served.complete
    paths = {**_model_paths(general=general), **v2_paths(general=general), **served.paths, **_server_paths()}
    metrics = paths.pop(METRICS)
    if metrics_path:
        paths[metrics_path] = metrics
    document: dict[str, Any] = {
        "openapi": "3.1.0",
        "info": {
            "title": "Whyserve",
            "version": API_VERSION,
            "description": "TensorFlow Serving's REST interface, with explanations beside the predictions. Requests "
            "need no Content-Type. NaN, Infinity and -Infinity are taken and written as bare tokens, which JSON lacks. "
            "Bodies may be sent with `Content-Encoding: gzip` or `deflate`; by default they hold "
            f"{Limits().max_body_bytes} bytes.",
        },
        "paths": paths,
        "components": {
            "schemas": {**_schemas(), **served.schemas},
            "responses": _responses(_ERRORS.keys() - _OF_TOKENS),
            "parameters": _parameters([version.name for version in versions]),
        },
    }
    if admin:
        document["paths"] |= admin_paths()
        document["components"]["schemas"] |= admin_schemas()
    if open_paths is not None:
        _add_tokens(document, open_paths)
    _drop_unused(document)
    return document


def _drop_unused(document: dict[str, Any]) -> None:
    """Drops the components that nothing refers to any more."""
    components: dict[str, dict[str, Any]] = document["components"]
    used: set[str] = set()
    waiting: list[Any] = [document["paths"]]
    while waiting:
        value = waiting.pop()
        if isinstance(value, list):
            waiting += value
        elif isinstance(value, dict):
            waiting += value.values()
            reference = value.get("$ref")
            if isinstance(reference, str) and reference not in used:
                used.add(reference)
                _, _, section, name = reference.split("/", 3)
                waiting.append(components[section][name])
    for section in ("schemas", "responses", "parameters"):
        kept = {name: part for name, part in components[section].items() if f"#/components/{section}/{name}" in used}
        components[section] = kept


def _add_tokens(document: dict[str, Any], open_paths: Collection[str]) -> None:
    """Says which operations need a bearer token, and what they answer without."""
    document["security"] = [{"token": []}]
    document["components"]["securitySchemes"] = {
        "token": {"type": "http", "scheme": "bearer", "description": "The server's operator hands them out"}
    }
    document["components"]["responses"] |= _responses(_OF_TOKENS)
    for path, operations in document["paths"].items():
        for operation in [operations[method] for method in ("get", "post", "put", "delete") if method in operations]:
            if path in open_paths:
                operation["security"] = []
            else:
                operation["responses"] |= _errors(_OF_TOKENS)


_STATUS = "State of a model's versions, newest first"
_METADATA = "Signatures of a model: names, types, shapes"
# For each verb what it is for, the general form of its body, and what it answers.
_VERBS = {
    "predict": ("Predictions of a signature", "PredictRequest", "Predictions"),
    "explain": ("Predictions and the reasons for them", "ExplainRequest", "Explanations"),
    "classify": ("Labels and scores of tf.Examples", "ExamplesRequest", "Classifications"),
    "regress": ("One value for each tf.Example", "ExamplesRequest", "Regressions"),
}


def _model_operations() -> dict[str, MakeOperation]:
    """For each verb what makes an operation of its identifier, the model's name and its body."""

    def of_verb(summary: str, reply: str) -> MakeOperation:
        return lambda identifier, name, content: _inference(identifier, f"{summary}: {name}", content, reply)

    def of_label(summary: str, reply: str) -> MakeOperation:
        return lambda identifier, name, _: _operation(identifier, f"{summary}: {name}", reply)

    made = {verb: of_verb(summary, reply) for verb, (summary, _, reply) in _VERBS.items()}
    told = {"status": of_label(_STATUS, "Status"), "metadata": of_label(_METADATA, "Metadata")}
    return {**made, **told, **v2_inference()}


def _model_paths(*, general: bool) -> dict[str, Any]:
    """What is asked of any model; `general`: and of those whose signatures aren't described."""
    paths: dict[str, Any] = {}
    selectors = [("", ["name"]), ("/versions/{version}", ["name", "version"])]
    if general:
        selectors.append(("/labels/{label}", ["name", "label"]))
    for selector, parameters in selectors:
        base, suffix = f"{MODELS}/{{name}}{selector}", selector.split("/")[1].capitalize() if selector else ""
        shared = {"parameters": [_ref("parameters", name) for name in parameters]}
        paths[base] = {
            **shared,
            "get": _operation(f"getStatus{suffix}", _STATUS, "Status"),
        }
        paths[f"{base}/metadata"] = {
            **shared,
            "get": _operation(f"getMetadata{suffix}", _METADATA, "Metadata"),
        }
        for verb, (summary, request, reply) in _VERBS.items() if general else ():
            content = {"application/json": {"schema": _ref("schemas", request)}}
            paths[f"{base}:{verb}"] = {**shared, "post": _inference(f"{verb}{suffix}", summary, content, reply)}
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


def _inference(operation_id: str, summary: str, content: Schema, reply: str) -> Schema:
    names = tuple(name for name in _ERRORS if name not in _NOT_OF_INFERENCE)
    return {
        **_operation(operation_id, summary, reply, errors=names),
        "requestBody": {"required": True, "content": content},
    }


_ERRORS = {
    "Invalid": (
        "400",
        "The request can't be answered as it is: malformed, of the wrong type or shape, or no such signature",
    ),
    "Unauthenticated": ("401", "No bearer token was sent, or an unknown one"),
    "Forbidden": ("403", "The token lacks the scope"),
    "NotFound": ("404", "No such model or version is served"),
    "MethodNotAllowed": ("405", "Another method is needed, which the header Allow names"),
    "Timeout": ("408", "The body did not arrive in time"),
    "Conflict": ("409", "What is on the disk doesn't allow it; the text says what is wrong with it"),
    "TooLarge": ("413", "The body is larger than the server takes"),
    "Encoding": ("415", "Content-Encoding is neither gzip nor deflate nor absent"),
    "Exhausted": ("429", "The queue is full; Retry-After says when to come again"),
    "Internal": ("500", "The server failed"),
    "Unimplemented": ("501", "JSON has nothing for the type of an input: ask over gRPC"),
    "Unavailable": ("503", "Not ready: loading or stopping"),
    "Deadline": ("504", "The answer took longer than the server's time limit"),
}


# Only some servers ask for tokens.
_OF_TOKENS = ("Unauthenticated", "Forbidden")
_NOT_OF_INFERENCE = ("MethodNotAllowed", "Conflict", *_OF_TOKENS)


def _errors(names: tuple[str, ...]) -> Schema:
    return {_ERRORS[name][0]: _ref("responses", name) for name in (*names, "MethodNotAllowed")}


def _responses(names: Collection[str]) -> Schema:
    return {name: _content(text, "Error") for name, (_, text) in _ERRORS.items() if name in names}


def _parameters(names: Collection[str]) -> Schema:
    segment = {"type": "string", "minLength": 1, "pattern": "^[^/:]+$"}
    listed = {"enum": sorted(set(names))} if 0 < len(names) <= MAX_LISTED_NAMES else segment
    return {
        "name": {"name": "name", "in": "path", "required": True, "schema": listed, "description": "The model"},
        "anyName": {
            "name": "name",
            "in": "path",
            "required": True,
            "schema": segment,
            "description": "A model, whether it is served or not",
        },
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
    return {**_request_schemas(), **_example_schemas(), **_reply_schemas(), **_attribution_schemas(), **v2_schemas()}


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
            "description": "`top_k` excludes `target` and `contrast`",
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
                "contrast": {
                    "description": "The class that `target` is compared with, likewise: the relevance is that of the "
                    "target less that of this class",
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


def _example_schemas() -> Schema:
    # Of several integers JSON Schema can't say that all are written without a point.
    feature = {
        "description": "A string or bytes, an integer or boolean, or a number written with a point or an exponent: "
        "which of the three decides what a feature holds; or a list of values of one kind",
        "anyOf": [_ref("schemas", "FeatureBytes"), _ref("schemas", "FeatureInteger"), _ref("schemas", "FeatureFloat")],
    }
    whole = {"type": "integer", "minimum": -(2**63), "maximum": 2**63 - 1}
    # What doesn't fit 64 bits counts as a number with a point.
    huge = [{"type": "integer", "exclusiveMaximum": -(2**63)}, {"type": "integer", "exclusiveMinimum": 2**64 - 1}]
    request = {
        "type": "object",
        "required": ["examples"],
        "properties": {
            "signature_name": {"type": "string", "description": "`serving_default` where absent"},
            "context": {**_ref("schemas", "Example"), "description": "Features that all examples share"},
            "examples": {**_list(_ref("schemas", "Example")), "minItems": 1},
        },
    }
    pair = {"type": "array", "items": {"not": {"type": ["boolean", "array", "object"]}}, "minItems": 2, "maxItems": 2}
    return {
        "ExamplesRequest": request,
        "Example": {
            **_map(_ref("schemas", "Feature")),
            "description": "The features of a tf.Example by name; where a model takes tensors, one for each of its "
            "inputs",
        },
        "Feature": feature,
        "FeatureBytes": {"anyOf": [{"type": "string"}, BYTES]},
        "FeatureInteger": {"anyOf": [whole, {"type": "boolean"}]},
        "FeatureFloat": {"anyOf": [{"type": "number", "not": {"type": "integer"}}, *huge]},
        "Regressions": _object({"results": _list(_NUMBER)}),
        "Classifications": _object(
            {"results": {**_list(_list(pair)), "description": "For each example its classes, as [label, score]"}}
        ),
    }


def _reply_schemas() -> Schema:
    states = [state.name for state in State]
    status = _object({"error_code": {"enum": [code.name for code in Code]}, "error_message": {"type": "string"}})
    version = _object({"version": _VERSION, "state": {"enum": states}, "status": status})
    versions = {"model_version_status": {"type": "array", "items": version}}
    rows = {"predictions": {"type": "array", "items": _ref("schemas", "Result")}}
    columns = {"outputs": _ref("schemas", "Result")}
    explanations = {"explanations": {"type": "array", "items": _ref("schemas", "Explanation")}}
    model_spec = _object({"name": {"type": "string"}, "signature_name": {"type": "string"}, "version": _VERSION})
    return {
        "Result": {"description": "As `Value`, where NaN, Infinity and -Infinity are numbers too"},
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
        "instanceOutputValue": {
            **_NUMBER,
            "description": "Its score before softmax or sigmoid; with `contrast`, less that of the other class",
        },
        "baselineOutputValue": {"const": 0.0, "description": "Relevance propagation has no baseline"},
        "approximationError": {
            **_NUMBER,
            "description": "|instanceOutputValue - sum of the relevance| / |instanceOutputValue|: what the network's "
            "biases and stabilizers took up",
        },
        "featureAttributions": {
            **_map(_ref("schemas", "Result")),
            "description": "For each input its relevance, in the input's own shape",
        },
    }
    schema = _object(attribution)
    schema["properties"]["outputDisplayName"] = {
        "type": "string",
        "description": "The class label, where the model has labels",
    }
    schema["properties"]["contrastIndex"] = {
        "type": "array",
        "items": {"type": "integer"},
        "description": "With `contrast`: the class that the explained one is compared with",
    }
    schema["properties"]["contrastDisplayName"] = {"type": "string", "description": "The label of that class"}
    schema["properties"]["layerAttributions"] = {
        **_map(_ref("schemas", "Result")),
        "description": "For each inner layer that was chosen at export the relevance of what it returns",
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


def _list(items: Schema) -> Schema:
    return {"type": "array", "items": items}


def _content(text: str, schema: str) -> Schema:
    return {"description": text, "content": {"application/json": {"schema": _ref("schemas", schema)}}}


def _ref(section: str, name: str) -> Schema:
    return {"$ref": f"#/components/{section}/{name}"}
