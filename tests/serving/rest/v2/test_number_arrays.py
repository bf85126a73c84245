import json
from typing import Any

import numpy as np
import pytest

from serving.errors import ServingError
from serving.rest.v2.codec import decode_request
from serving.rest.v2.number_arrays import read_document

PADDING = {"parameters": {"note": "-" * 2048}}


def request(data: Any, datatype: str = "FP32", shape: list[int] | None = None, **more: Any) -> bytes:
    tensor = {"name": "x", "datatype": datatype, "shape": [len(data)] if shape is None else shape, "data": data}
    return json.dumps({"id": "7", "inputs": [tensor], **PADDING, **more}).encode()


@pytest.mark.parametrize("datatype", ["FP16", "FP32", "FP64", "INT8", "INT64", "UINT8", "UINT64"])
def test_flat_numbers_are_read_as_they_are_the_slow_way(datatype: str) -> None:
    data = [1, 2.5, 3, 4] if datatype.startswith("FP") else [1, 2, 100, 4]
    content = request(data, datatype, [2, 2], outputs=[{"name": "y"}])
    assert isinstance(read_document(content)["inputs"][0]["data"], np.ndarray)
    decoded = decode_request(content, None)
    assert decoded.inputs["x"].tolist() == np.reshape(data, (2, 2)).tolist()
    assert (decoded.request_id, decoded.outputs[0].name) == ("7", "y")
    assert decode_request(json.dumps(json.loads(content) | {"parameters": {}}).encode(), None).inputs["x"].dtype == (
        decoded.inputs["x"].dtype
    )


@pytest.mark.parametrize(
    ("data", "datatype", "shape"),
    [
        ([1, [2]], "FP32", [2]),
        ([[1, 2], [3, 4]], "FP32", [2, 2]),
        ([True], "FP32", [1]),
        (["1"], "FP32", [1]),
        ([1.0], "INT32", [1]),
        (["a"], "BYTES", [1]),
        ([float("nan")], "FP32", [1]),
        ([None], "FP32", [1]),
    ],
)
def test_what_is_not_plain_is_left_to_the_slow_way(data: Any, datatype: str, shape: list[int]) -> None:
    assert read_document(request(data, datatype, shape)) is None


def test_brackets_in_texts_cost_only_time() -> None:
    assert read_document(request([1, 2], more="[")) is None
    assert decode_request(request([1, 2], more="["), None).inputs["x"].tolist() == [1, 2]


@pytest.mark.parametrize(
    ("data", "datatype", "text"),
    [
        ([300, 1], "UINT8", r"whole numbers from 0 to 255\. Received: 300"),
        ([1, -200], "INT8", r"from -128 to 127\. Received: -200"),
        ([-1, 1], "UINT64", r"Received: -1"),
        ([1, 2, 3], "FP32", r"takes 2 values\. Received: 3"),
    ],
)
def test_the_errors_are_those_of_the_slow_way(data: list[Any], datatype: str, text: str) -> None:
    with pytest.raises(ServingError, match=text):
        decode_request(request(data, datatype, [2]), None)
