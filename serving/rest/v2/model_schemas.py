"""JSON schemas of the requests of the Open Inference Protocol that one version of a model answers."""

import math
from typing import Any

import numpy as np

from serving.errors import ServingError
from serving.inference_protocol.datatypes import BYTES, datatype_of
from serving.inference_protocol.requests import SIGNATURE_NAME
from serving.rest.explain_parameters import NAMES as EXPLAIN_PARAMETERS
from serving.rest.explain_schemas import NEVER, parameter_schemas
from serving.rest.model_schemas import Request, described_signatures, range_checked
from serving.rest.tensor_schemas import (
    SMALL_SIZES,
    Schema,
    Sizes,
    agreeing_shapes,
    array_schema,
    example_value,
    number_schema,
)
from serving.types import DEFAULT_SIGNATURE, EXPLAIN_SIGNATURE, ServedVersion, Signature

_MAX_EXAMPLE_ELEMENTS = 64


def v2_requests_of(version: ServedVersion) -> dict[str, Request]:
    """The requests that a version answers, by the last part of their URL.

    The schema lists batches of the smallest sizes: it can't say that `data` is as long as `shape` asks for.
    """
    made = {"infer": _infer(version), "explain": _explain(version)}
    return {verb: request for verb, request in made.items() if request is not None}


def _infer(version: ServedVersion) -> Request | None:
    bodies = []
    for name, signature in described_signatures(version):
        default = name == DEFAULT_SIGNATURE
        named = {SIGNATURE_NAME: {"enum": ["", name]} if default else {"const": name}}
        required = [] if default else [SIGNATURE_NAME]
        ways: list[Schema] = [dict.fromkeys(EXPLAIN_PARAMETERS, NEVER)]
        if name == EXPLAIN_SIGNATURE and version.explanation is not None:
            ways = parameter_schemas(version.explanation, signature, nulls=False)
        parameters = {"anyOf": [_parameters({**named, **way}, required) for way in ways]}
        bodies += _bodies(version, name, signature, parameters, named=not default)
    return Request({"anyOf": bodies}, _example(version)) if bodies else None


def _explain(version: ServedVersion) -> Request | None:
    signature = version.signatures.get(EXPLAIN_SIGNATURE)
    if signature is None or version.explanation is None:
        return None
    named = {SIGNATURE_NAME: {"enum": ["", EXPLAIN_SIGNATURE]}}
    ways = [_parameters({**named, **way}) for way in parameter_schemas(version.explanation, signature, nulls=False)]
    bodies = _bodies(version, EXPLAIN_SIGNATURE, signature, {"anyOf": ways}, named=False)
    return Request({"anyOf": bodies}, _example(version)) if bodies else None


def _bodies(
    version: ServedVersion, name: str, signature: Signature, parameters: Schema, *, named: bool
) -> list[Schema]:
    """A body for each of the smallest batches."""
    outputs = _outputs(signature)
    properties = {
        "id": {"type": ["string", "null"], "description": "Handed back with the answer"},
        "parameters": parameters if named else {"anyOf": [parameters, {"type": "null"}]},
        "outputs": outputs,
    }
    found = []
    for inputs in _inputs(version, name, signature):
        required = ["inputs", "parameters"] if named else ["inputs"]
        found.append({"type": "object", "required": required, "properties": {**properties, "inputs": inputs}})
    return found


def _inputs(version: ServedVersion, name: str, signature: Signature) -> list[Schema]:
    found = []
    if any(info.shape is None for info in signature.inputs.values()):
        return [{"type": "array", "items": {"type": "object"}}]
    for batch in SMALL_SIZES:
        shapes = agreeing_shapes(signature.inputs, batch, columns=True)[0][1]
        try:
            tensors = [
                _tensor(each, info.dtype, shapes[each], version=version, signature_name=name)
                for each, info in signature.inputs.items()
            ]
        except ServingError:  # a type that the protocol lacks
            return []
        schema: Schema = {"type": "array", "minItems": len(tensors), "maxItems": len(tensors)}
        schema |= {"items": tensors[0]} if len(tensors) == 1 else {"prefixItems": tensors}
        if schema not in found:
            found.append(schema)
    return found


def _tensor(name: str, dtype: np.dtype, shape: Sizes, *, version: ServedVersion, signature_name: str) -> Schema:
    sizes = [size or 1 for size in shape]
    element = range_checked(name, _element(dtype, finite=version.refuses_non_finite), version, signature_name)
    flat = array_schema(element, (math.prod(sizes),))
    data = {"anyOf": [flat, array_schema(element, tuple(sizes))]} if len(sizes) > 1 else flat
    properties = {
        "name": {"const": name},
        "datatype": {"const": datatype_of(dtype, name)},
        "shape": {"const": sizes, "description": "Larger batches are alike"},
        "data": {**data, "description": "One flat list, or lists nested as the shape is"},
        "parameters": {"anyOf": [{"$ref": "#/components/schemas/ParametersV2"}, {"type": "null"}]},
    }
    return {"type": "object", "required": ["name", "datatype", "shape", "data"], "properties": properties}


def _element(dtype: np.dtype, *, finite: bool) -> Schema:
    if datatype_of(dtype, "") == BYTES:
        return {"type": "string"}
    if dtype.kind == "b":
        return {"type": "boolean"}
    if dtype.kind in "iu":
        limits = np.iinfo(dtype)
        return {"type": "integer", "minimum": int(limits.min), "maximum": int(limits.max)}
    return number_schema(dtype, finite=finite)


def _outputs(signature: Signature) -> Schema:
    """The outputs wanted: their names, each once, or one of them with what is said of it."""
    name = {"enum": list(signature.outputs)}
    plain = {"type": "object", "required": ["name"], "properties": {"name": name}, "additionalProperties": False}
    one = {
        "type": "object",
        "required": ["name"],
        "properties": {
            "name": name,
            "parameters": {
                "anyOf": [{"$ref": "#/components/schemas/ParametersV2"}, {"type": "null"}],
                "description": "`binary_data`, `classification`",
            },
        },
    }
    return {
        "description": "All of them where absent",
        "anyOf": [
            {"type": "array", "uniqueItems": True, "items": plain},
            {"type": "array", "maxItems": 1, "items": one},
            {"type": "null"},
        ],
    }


def _parameters(known: Schema, required: list[str] | None = None) -> Schema:
    return {
        "type": "object",
        "required": required or [],
        "properties": known,
        "additionalProperties": {"type": ["string", "number", "boolean"]},
        "description": "`timeout` in microseconds; `binary_data_output`; others have no effect",
    }


def _example(version: ServedVersion) -> Any:
    signature = version.signatures.get(DEFAULT_SIGNATURE)
    if signature is None:
        return None
    inputs = []
    for name, info in signature.inputs.items():
        shape = info.shape
        data = None if shape is None else example_value(shape, info.dtype, _MAX_EXAMPLE_ELEMENTS)
        if shape is None or data is None:
            return None
        sizes = [size or 1 for size in shape]
        inputs.append({"name": name, "datatype": datatype_of(info.dtype, name), "shape": sizes, "data": data})
    return {"inputs": inputs}
