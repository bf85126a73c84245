import json
from typing import Any

import numpy as np
import pytest

from serving.errors import ServingError
from serving.protos.example_pb2 import Example
from serving.rest.examples import encode_result, read_examples
from serving.rest.json_text import parse_json
from serving.tasks import Classification, Regression


def features(body: str) -> list[dict[str, tuple[str, list[Any]]]]:
    """Kind and values of each feature of each example."""
    read = []
    for serialized in read_examples(parse_json(body.encode())):
        example = Example.FromString(serialized)
        found = {}
        for name, feature in example.features.feature.items():
            kind = feature.WhichOneof("kind")
            found[name] = (kind, [] if kind is None else list(getattr(feature, kind).value))
        read.append(found)
    return read


@pytest.mark.parametrize(
    ("value", "kind", "values"),
    [
        ("2", "int64_list", [2]),
        ("-9223372036854775808", "int64_list", [-(2**63)]),
        ("true", "int64_list", [1]),
        ("[false, 3]", "int64_list", [0, 3]),
        ("2.0", "float_list", [2.0]),
        ("2e0", "float_list", [2.0]),
        ("[1.5, 1E2]", "float_list", [1.5, 100.0]),
        ("18446744073709551616", "float_list", [float(2**64)]),
        ("1e39", "float_list", [float("inf")]),
        ("-Infinity", "float_list", [float("-inf")]),
        ('"ä"', "bytes_list", ["ä".encode()]),
        ('{"b64": "/w=="}', "bytes_list", [b"\xff"]),
        ('["a", {"b64": "/w"}]', "bytes_list", [b"a", b"\xff"]),
        ("[]", None, []),
    ],
)
def test_the_kind_of_a_feature_is_how_its_values_are_written(value, kind, values):
    assert features(f'{{"examples": [{{"f": {value}}}]}}') == [{"f": (kind, values)}]


def test_the_context_is_in_every_example():
    body = '{"context": {"a": 1, "b": 2.5}, "examples": [{"a": 3}, {"c": "x"}]}'
    first, second = features(body)
    assert first == {"a": ("int64_list", [3]), "b": ("float_list", [2.5])}
    assert second == {"a": ("int64_list", [1]), "b": ("float_list", [2.5]), "c": ("bytes_list", [b"x"])}


def test_other_keys_are_ignored():
    assert features('{"examples": [{}], "instances": 5}') == [{}]


def test_a_kind_is_settled_by_the_first_value_and_the_error_names_it():
    with pytest.raises(ServingError, match=r"^Unexpected element type in feature: f expecting type: int64$"):
        features('{"examples": [{"f": [true, 1.0]}]}')


def test_scores_and_values_are_written_as_float32():
    labels = np.array([[b"a", b"b"]], object)
    written = encode_result(Classification(labels, np.array([[0.1, 1.0]], np.float32)))
    assert written == b'{"results":[[["a",0.1],["b",1.0]]]}'
    assert encode_result(Regression(np.array([0.1, 3.0], np.float32))) == b'{"results":[0.1,3.0]}'


def test_what_is_not_finite_is_written_as_bare_tokens():
    scores = np.array([[np.nan, -np.inf]], np.float32)
    written = encode_result(Classification(np.full((1, 2), b"", object), scores))
    assert written == b'{"results":[[["",NaN],["",-Infinity]]]}'
    assert json.loads(encode_result(Regression(scores[0])))["results"][1] == -np.inf
