"""What the OpenAPI document says of the Open Inference Protocol."""

from collections.abc import Callable
from typing import Any

from serving.inference_protocol.datatypes import DATATYPES
from serving.inference_protocol.description import STATES
from serving.rest.v2.routes import INDEX, LIVE, MODELS, READY, ROOT, STATISTICS

Schema = dict[str, Any]

_ERRORS = {
    "400": "Invalid",
    "404": "NotFound",
    "405": "MethodNotAllowed",
    "408": "Timeout",
    "413": "TooLarge",
    "415": "Encoding",
    "429": "Exhausted",
    "500": "Internal",
    "501": "Unimplemented",
    "503": "Unavailable",
    "504": "Deadline",
}
_OF_A_MODEL = ("400", "404", "405", "501")


_VERBS = {
    "infer": "The outputs of a signature, as tensors",
    "explain": "The outputs of signature `explain`: the prediction, and the relevance of every input for it",
}


def v2_inference() -> dict[str, Callable[[str, str, Schema], Schema]]:
    """For each verb what makes an operation of its identifier, the model's name and its body."""

    def of_verb(summary: str) -> Callable[[str, str, Schema], Schema]:
        return lambda identifier, name, content: _inference(identifier, f"{summary}: {name}", content)

    return {f"{verb}V2": of_verb(summary) for verb, summary in _VERBS.items()}


def v2_paths(*, general: bool = True) -> Schema:
    """The URLs of the protocol; `general`: with inference by models whose signatures aren't described."""
    paths: Schema = {
        ROOT: {"get": _operation("getServerV2", "Name, version and extensions", "ServerV2", ("405",))},
        LIVE: {"get": _operation("getLivenessV2", "Answers as long as the process does", "LiveV2", ("405",))},
        READY: {
            "get": _operation(
                "getReadinessV2",
                "Whether the models are loaded and the server is not stopping",
                "ReadyV2",
                ("405", "503"),
            )
        },
        MODELS: {"get": _operation("listModelsV2", "Names of the models", "ModelsV2", ("405",))},
        STATISTICS: {"get": _operation("getStatisticsV2", "What was counted of every model", "StatisticsV2", ("405",))},
        INDEX: {"post": _operation("indexV2", "Every version of every model, with its state", "IndexV2", ("405",))},
    }
    for selector, suffix, names in (("", "", ["name"]), ("/versions/{version}", "Versions", ["name", "version"])):
        base = f"{MODELS}/{{name}}{selector}"
        shared = {"parameters": [{"$ref": f"#/components/parameters/{name}"} for name in names]}
        for path, operation_id, summary, reply in (
            ("", "getModelV2", "Inputs and outputs of a model; of another signature as NAME:SIGNATURE", "ModelV2"),
            ("/ready", "getModelReadinessV2", "Whether a model answers", "ModelReadyV2"),
            ("/config", "getConfigV2", "The same as Triton's model configuration", "ConfigV2"),
            ("/stats", "getModelStatisticsV2", "What was counted of a model", "StatisticsV2"),
        ):
            operation = _operation(f"{operation_id}{suffix}", summary, reply, _OF_A_MODEL)
            paths[f"{base}{path}"] = {**shared, "get": operation}
        for verb, summary in _VERBS.items() if general else ():
            operation = _inference(f"{verb}V2{suffix}", summary, _json("InferRequestV2"))
            paths[f"{base}/{verb}"] = {**shared, "post": operation}
    return paths


def v2_schemas() -> Schema:
    """The schemas of `v2_paths`."""
    return {**_infer_schemas(), **_description_schemas()}


def _infer_schemas() -> Schema:
    shape = {"type": "array", "items": {"type": "integer", "minimum": 0, "maximum": 2**63 - 1}, "maxItems": 64}
    datatype = {"enum": list(DATATYPES)}
    named = {"name": {"type": "string"}}
    parameters = {"$ref": "#/components/schemas/ParametersV2"}
    data = {
        "type": "array",
        "description": "One flat list, or lists nested as the shape is. Absent where parameter `binary_data_size` says "
        "how many bytes behind the JSON are the tensor; the header Inference-Header-Content-Length then says where the "
        "JSON ends",
    }
    tensor = {**named, "shape": shape, "datatype": datatype, "parameters": parameters, "data": data}
    wanted = {**named, "parameters": {**parameters, "description": "`binary_data`, `classification`"}}
    identifier = {"type": "string", "description": "Handed back with the answer"}
    return {
        "ParametersV2": {
            "type": "object",
            "additionalProperties": {"type": ["string", "number", "boolean"]},
            "description": "Of a request: `signature_name`; `timeout` in microseconds; `binary_data_output`; and of an "
            "explanation `target`, `contrast`, `top_k`. Others have no effect",
        },
        "InferRequestV2": {
            "type": "object",
            "required": ["inputs"],
            "properties": {
                "id": identifier,
                "parameters": parameters,
                "inputs": _list(_object(tensor, required=("name", "shape", "datatype"))),
                "outputs": _list(_object(wanted, required=("name",))),
            },
        },
        "InferReplyV2": _object(
            {
                "model_name": {"type": "string"},
                "model_version": {"type": "string"},
                "id": identifier,
                "outputs": _list(_object(tensor, required=("name", "shape", "datatype"))),
            },
            required=("model_name", "model_version", "outputs"),
        ),
    }


def _description_schemas() -> Schema:
    text, number = {"type": "string"}, {"type": "integer", "minimum": 0}
    sizes = {**_list({"type": "integer", "minimum": -1}), "description": "-1 is a dynamic dimension"}
    tensor = _object({"name": text, "datatype": {"enum": list(DATATYPES)}, "shape": sizes})
    configured = _object({"name": text, "data_type": {**text, "pattern": "^TYPE_"}, "dims": sizes})
    durations = ("success", "fail", "queue", "compute_input", "compute_infer", "compute_output")
    duration = _object({"count": number, "ns": number})
    version = {
        "name": text,
        "version": text,
        **dict.fromkeys(("last_inference", "inference_count", "execution_count"), number),
        "inference_stats": _object(dict.fromkeys(durations, duration)),
        "batch_stats": {"type": "array", "maxItems": 0},
    }
    entry = {"name": text, "version": text, "state": {"enum": sorted(set(STATES.values()))}, "reason": text}
    model = {"name": text, "versions": _list(text), "platform": text, "inputs": _list(tensor), "outputs": _list(tensor)}
    config = {
        **dict.fromkeys(("name", "platform", "backend"), text),
        "max_batch_size": {"const": 0, "description": "The dimensions hold that of the batch"},
        **dict.fromkeys(("input", "output"), _list(configured)),
    }
    return {
        "ServerV2": _object({"name": text, "version": text, "extensions": _list(text)}),
        "LiveV2": _object({"live": {"const": True}}),
        "ReadyV2": _object({"ready": {"const": True}}),
        "ModelsV2": _object({"models": _list(text)}),
        "ModelV2": _object(model),
        "ModelReadyV2": _object({"name": text, "ready": {"const": True}}),
        "ConfigV2": _object(config),
        "StatisticsV2": _object({"model_stats": _list(_object(version))}),
        "IndexV2": _list(_object(entry)),
    }


def _operation(operation_id: str, summary: str, reply: str, errors: tuple[str, ...]) -> Schema:
    refused = {status: {"$ref": f"#/components/responses/{_ERRORS[status]}"} for status in errors}
    answer = {"description": "The answer", "content": _json(reply)}
    return {"operationId": operation_id, "summary": summary, "responses": {"200": answer, **refused}}


def _inference(operation_id: str, summary: str, content: Schema) -> Schema:
    operation = _operation(operation_id, summary, "InferReplyV2", tuple(_ERRORS))
    operation["requestBody"] = {"required": True, "content": content}
    binary = {"schema": {"type": "string", "format": "binary"}}
    operation["responses"]["200"]["content"]["application/octet-stream"] = binary
    return operation


def _json(schema: str) -> Schema:
    return {"application/json": {"schema": {"$ref": f"#/components/schemas/{schema}"}}}


def _object(properties: Schema, *, required: tuple[str, ...] | None = None) -> Schema:
    names = list(properties) if required is None else list(required)
    return {"type": "object", "required": names, "properties": properties, "additionalProperties": False}


def _list(items: Schema) -> Schema:
    return {"type": "array", "items": items}
