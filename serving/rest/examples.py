"""The body of `:classify` and `:regress`: JSON objects to tf.Examples; and their replies."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from serving.errors import ServingError, invalid_argument
from serving.examples import merge_context
from serving.protos.example_pb2 import Example, Feature
from serving.rest.encode import encode_json, to_json
from serving.rest.json_text import json_type, show
from serving.rest.tensors import decode_base64, is_base64
from serving.tasks import Regression, Result

# What an error calls the kind of a feature, by the field that holds its values.
_KINDS = {"bytes_list": "bytes", "float_list": "float", "int64_list": "int64"}
_MAX_INT64 = 2**63 - 1


def read_examples(document: Mapping[str, Any]) -> list[bytes]:
    """Reads `examples`, each an object of features, with the features of `context` in every one of them.

    A feature is a value or a list of values, and its kind is that of the values as they are written: a string or
    `{"b64": ...}` is bytes, a boolean or an integer is int64, a number with a point or an exponent is float. So `2` is
    no value for a feature of floats, and `2.0` is.

    Args:
        document: The body.

    Returns:
        Serialized tf.Examples, at least one.

    Raises:
        ServingError: INVALID_ARGUMENT, in TensorFlow Serving's words.
    """
    context = _make_example(document["context"]) if "context" in document else b""
    if "examples" not in document:
        # TensorFlow Serving's text, which says classify for `:regress` too.
        raise _format_error(document, "When method is classify, key 'examples' is expected and was not found")
    examples = document["examples"]
    if not isinstance(examples, list):
        raise _format_error(document, "Expecting 'examples' value to be an list/array")
    if not examples:
        raise _format_error(document, "'examples' value is an empty array")
    return merge_context(context, [_make_example(example) for example in examples])


def encode_result(result: Result) -> bytes:
    """The reply: `results` holds a value for each example, or its classes as pairs of label and score."""
    if isinstance(result, Regression):
        return encode_json({"results": to_json(result.values)})
    rows = [[[label, _number(score)] for label, score in row] for row in result.rows()]
    return encode_json({"results": rows})


def _make_example(value: Any) -> bytes:
    if not isinstance(value, dict):
        raise invalid_argument(f"Example must be JSON object but got JSON {json_type(value)}")
    example = Example()
    for name, content in value.items():
        feature = example.features.feature[name]
        elements = content if isinstance(content, list) else [content]
        if set(map(type, elements)) == {float}:  # in one piece: an image is tens of thousands
            feature.float_list.value.extend(elements)
            continue
        for element in elements:
            _add(element, name, feature)
    return example.SerializeToString()


def _add(value: Any, name: str, feature: Feature) -> None:
    """Adds one value to a feature, whose kind the first value settles."""
    field = _field(value, name)
    kind = feature.WhichOneof("kind")
    if kind not in (None, field):
        raise invalid_argument(f"Unexpected element type in feature: {name} expecting type: {_KINDS[kind]}")
    if field == "bytes_list":
        feature.bytes_list.value.append(decode_base64(value["b64"]) if isinstance(value, dict) else value.encode())
    elif field == "float_list":
        feature.float_list.value.append(value)
    else:
        feature.int64_list.value.append(int(value))


def _field(value: Any, name: str) -> str:
    if isinstance(value, str) or is_base64(value):
        return "bytes_list"
    if isinstance(value, float):
        return "float_list"
    if not isinstance(value, int):
        raise invalid_argument(f"Feature: {name} has element with unexpected JSON type: {json_type(value)}")
    if value > _MAX_INT64:
        raise invalid_argument(f"Feature: {name} has uint64 element. Only int64 is supported.")
    return "int64_list"


def _number(value: np.float32) -> Any:
    return value if np.isfinite(value) else to_json(np.asarray(value))


def _format_error(document: Mapping[str, Any], message: str) -> ServingError:
    return invalid_argument(f"JSON Value: {show(document)} {message}")
