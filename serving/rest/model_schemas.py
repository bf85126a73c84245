"""JSON schemas of the requests that one version of a model answers, from its signatures."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from serving.errors import ServingError
from serving.rest.explain_schemas import index_schema, parameter_schemas, per_instance_schema
from serving.rest.tensor_schemas import (
    SMALL_SIZES,
    Adapt,
    Schema,
    array_schema,
    example_value,
    form_schemas,
    number_schema,
)
from serving.tasks import Method, make_task
from serving.types import DEFAULT_SIGNATURE, EXPLAIN_SIGNATURE, EXPLAIN_TARGET_SIGNATURE, ServedVersion, Signature

# Signatures of one version that are described; a model has a handful.
MAX_SIGNATURES = 12
_MAX_EXAMPLE_ELEMENTS = 64
_FEATURES_OF = {"f": "floats", "i": "integers", "u": "integers", "b": "integers", "O": "strings"}


@dataclass(frozen=True)
class Request:
    """The body of a request: its schema, and an example where there is a short one."""

    schema: Schema
    example: Any = None


@dataclass
class _Body:
    """The members of a body, those that it must have among them."""

    properties: Schema
    required: tuple[str, ...] = field(default_factory=tuple)

    def schema(self, without: str = "") -> Schema:
        excluded = {"not": {"required": [without]}} if without else {}
        return {"type": "object", "required": list(self.required), "properties": self.properties, **excluded}


def requests_of(version: ServedVersion) -> dict[str, Request]:
    """The requests that a version answers, by the verb in their URL, without those of the Open Inference Protocol."""
    made = {
        "predict": _predict(version),
        "explain": _explain(version),
        "classify": _examples(version, Method.CLASSIFY),
        "regress": _examples(version, Method.REGRESS),
    }
    return {verb: request for verb, request in made.items() if request is not None}


def described_signatures(version: ServedVersion) -> list[tuple[str, Signature]]:
    """The signatures to describe, the default one first."""
    ordered = sorted(version.signatures.items(), key=lambda item: item[0] != DEFAULT_SIGNATURE)
    return ordered[:MAX_SIGNATURES]


def range_checked(name: str, schema: Schema, version: ServedVersion, signature_name: str) -> Schema:
    """The schema of an element of an input; the target of an explanation must be a class."""
    explanation = version.explanation
    if name != "target" or signature_name != EXPLAIN_TARGET_SIGNATURE or explanation is None:
        return schema
    if explanation.num_targets is None:
        return schema
    return index_schema(explanation)


def _predict(version: ServedVersion) -> Request | None:
    bodies = [
        _body(form, _named(name))
        for name, signature in described_signatures(version)
        for form in form_schemas(signature, finite=version.refuses_non_finite, adapt=_adapter(version, name))
    ]
    if not bodies:
        return None
    return Request({"anyOf": bodies}, _example(version))


def _adapter(version: ServedVersion, signature_name: str) -> Adapt:
    return lambda name, element: range_checked(name, element, version, signature_name)


def _explain(version: ServedVersion) -> Request | None:
    signature = version.signatures.get(EXPLAIN_SIGNATURE)
    if signature is None or version.explanation is None:
        return None
    named = {"signature_name": {"enum": ["", DEFAULT_SIGNATURE, EXPLAIN_SIGNATURE]}}
    ways = parameter_schemas(version.explanation, signature, nulls=True)
    parameters = {"anyOf": [{"type": "null"}, *(_closed(way) for way in ways)]}
    bodies = [
        _body(form, _Body({**named, "parameters": parameters}))
        for form in form_schemas(signature, finite=version.refuses_non_finite)
    ]
    for count in SMALL_SIZES:
        target = _closed({"target": per_instance_schema(version.explanation, count)})
        target["required"] = ["target"]
        bodies += [
            _body(form, _Body({**named, "parameters": target}, ("parameters",)))
            for form in form_schemas(signature, finite=version.refuses_non_finite, batch=count)
        ]
    return Request({"anyOf": bodies}, _example(version))


def _examples(version: ServedVersion, method: Method) -> Request | None:
    """The request for the first signature that answers, the default one where it does; others are alike.

    Only one: a feature that a signature doesn't take is ignored, and another one's schema would forbid it.
    """
    for name, signature in described_signatures(version):
        example = _example_schema(version, name, signature, method)
        if example is None:
            continue
        body = _named(name)
        properties = {
            **body.properties,
            "context": {"$ref": "#/components/schemas/Example"},
            "examples": {"type": "array", "minItems": 1, "items": example},
        }
        return Request(_Body(properties, (*body.required, "examples")).schema())
    return None


def _example_schema(version: ServedVersion, name: str, signature: Signature, method: Method) -> Schema | None:
    """A tf.Example that the signature answers; None where it answers none."""
    try:
        task = make_task(name, signature, method)
    except ServingError:
        return None
    if signature.example_reading is None:  # what the features must be only the graph knows
        return {"$ref": "#/components/schemas/Example"}
    output = signature.outputs[task.output_names[0]]
    if output.dtype.kind != "f" or not _is_result(output.shape, method):
        return None
    features = _features(version, name, signature)
    if features is None:
        return None
    return {
        "type": "object",
        "required": list(features),
        "properties": features,
        "additionalProperties": {"$ref": "#/components/schemas/Feature"},
    }


def _features(version: ServedVersion, name: str, signature: Signature) -> Schema | None:
    """The features that a signature takes; None where it takes what features can't hold."""
    features: Schema = {}
    for feature, info in signature.inputs.items():
        kind = _FEATURES_OF.get(info.dtype.kind)
        if kind is None or info.shape is None or not info.shape or info.shape[1:].count(None) > 1:
            return None
        element = range_checked(
            feature, _feature_element(kind, info.dtype, finite=version.refuses_non_finite), version, name
        )
        if kind == "integers":  # booleans count as 0 and 1
            element = {"anyOf": [element, {"type": "boolean"}]}
        features[feature] = _feature(element, info.shape[1:])
    return features


def _is_result(shape: tuple[int | None, ...] | None, method: Method) -> bool:
    if shape is None:
        return True
    if method is Method.CLASSIFY:
        return len(shape) == 2
    return len(shape) == 1 or (len(shape) == 2 and shape[1] == 1)


def _feature_element(kind: str, dtype: np.dtype, *, finite: bool) -> Schema:
    if kind == "strings":
        return {"$ref": "#/components/schemas/FeatureBytes"}
    if kind == "integers":
        if dtype.kind == "b":
            return {"enum": [0, 1]}
        limits = np.iinfo(dtype)
        return {"type": "integer", "minimum": int(limits.min), "maximum": int(limits.max)}
    # Features of floats hold float32; what is written without a point or an exponent is a feature of integers.
    single = dtype if dtype.itemsize < 4 else np.dtype(np.float32)
    return {**number_schema(single, finite=finite), "not": {"type": "integer"}}


def _feature(element: Schema, row: tuple[int | None, ...]) -> Schema:
    """The values of one row, in row-major order; a single one may stand alone."""
    if None in row:  # any number of rows of it: the multiples of their size can't be told in general
        stride = _product(size for size in row if size is not None)
        return array_schema(element, (stride,)) if stride > 1 else {"anyOf": [element, array_schema(element, (None,))]}
    count = _product(size for size in row if size is not None)
    listed = array_schema(element, (count,))
    return {"anyOf": [element, listed]} if count == 1 else listed


def _product(sizes: Iterator[int]) -> int:
    product = 1
    for size in sizes:
        product *= size
    return product


def _named(signature_name: str) -> _Body:
    """The member that names a signature; the default one need not be named."""
    if signature_name == DEFAULT_SIGNATURE:
        return _Body({"signature_name": {"enum": ["", DEFAULT_SIGNATURE]}})
    return _Body({"signature_name": {"const": signature_name}}, ("signature_name",))


def _body(form: Schema, rest: _Body) -> Schema:
    (member,) = form
    other = "inputs" if member == "instances" else "instances"
    return _Body({**rest.properties, **form}, (*rest.required, member)).schema(other)


def _closed(properties: Schema) -> Schema:
    return {"type": "object", "properties": properties, "additionalProperties": False}


def _example(version: ServedVersion) -> Any:
    """A short request for the default signature."""
    signature = version.signatures.get(DEFAULT_SIGNATURE)
    if signature is None:
        return None
    values = {
        name: example_value((info.shape or ())[1:], info.dtype, _MAX_EXAMPLE_ELEMENTS)
        for name, info in signature.inputs.items()
        if info.shape
    }
    if len(values) != len(signature.inputs) or None in values.values():
        return None
    return {"instances": [next(iter(values.values())) if len(values) == 1 else values]}
