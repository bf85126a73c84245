import json

import numpy as np
import pytest

from whyserve.client.rest import RestClient, _attribution, _columns, _description, instances
from whyserve.errors import CommandError

METADATA = {
    "model_spec": {"name": "m", "version": "7"},
    "metadata": {
        "signature_def": {
            "signature_def": {
                "serving_default": {
                    "inputs": {
                        "image": {
                            "dtype": "DT_FLOAT",
                            "tensor_shape": {"dim": [{"size": "-1"}, {"size": "2"}], "unknown_rank": False},
                        },
                        "text": {"dtype": "DT_STRING", "tensor_shape": {"dim": [], "unknown_rank": True}},
                    },
                    "outputs": {
                        "y": {"dtype": "DT_FLOAT", "tensor_shape": {"dim": [{"size": "-1"}]}},
                        "n": {"dtype": "DT_INT64", "tensor_shape": {"dim": [{"size": "-1"}]}},
                    },
                }
            }
        }
    },
}


def test_one_input_is_sent_bare_as_rows():
    body = json.loads(instances({"x": np.array([[1, 2], [3, 4]], np.float32)}))
    assert body == {"instances": [[1, 2], [3, 4]]}


def test_several_inputs_are_sent_as_objects():
    body = json.loads(instances({"a": np.array([[1.5], [2]], np.float32), "b": np.array([3, 4])}, {"top_k": 2}))
    assert body == {"instances": [{"a": [1.5], "b": 3}, {"a": [2], "b": 4}], "parameters": {"top_k": 2}}


def test_bytes_are_sent_as_base64_and_text_as_it_is():
    body = json.loads(instances({"x": np.array([[b"\xff", "plain"]], object)}))
    assert body == {"instances": [[{"b64": "/w=="}, "plain"]]}


def test_what_is_not_finite_is_sent_in_the_tokens_that_tensorflow_serving_reads():
    body = instances({"x": np.array([np.nan, np.inf, 1.0], np.float32)})
    assert b"[NaN, Infinity, 1.0]" in body


def test_float32_is_sent_without_loss():
    values = np.random.default_rng(0).normal(size=100).astype(np.float32)
    np.testing.assert_array_equal(np.float32(json.loads(instances({"x": values}))["instances"]), values)


def test_arrays_in_any_memory_order_are_sent():
    body = json.loads(instances({"x": np.arange(6, dtype=np.float32).reshape(2, 3).T}))
    assert body["instances"] == [[0, 3], [1, 4], [2, 5]]


def test_metadata_gives_names_dtypes_and_shapes():
    description = _description("m", METADATA)
    assert (description.name, description.version) == ("m", 7)
    assert description.inputs["image"].shape == (None, 2)
    assert description.inputs["image"].dtype == np.float32
    assert description.inputs["text"].shape is None
    assert description.inputs["text"].dtype == object
    assert description.outputs["n"].dtype == np.int64


def test_several_outputs_come_as_objects():
    columns = _columns([{"y": 0.5, "n": 1}, {"y": 0.25, "n": 2}], _description("m", METADATA))
    assert columns["y"].tolist() == [0.5, 0.25]
    assert columns["n"].tolist() == [1, 2]


def test_the_gap_is_the_value_less_all_relevance():
    features = {"a": [1.0, 2.0], "b": [[-0.5]]}
    one = _attribution({"outputIndex": [2], "instanceOutputValue": 3.0, "featureAttributions": features})
    assert one.gap == pytest.approx(0.5)  # 3 - (1 + 2 - 0.5)
    assert (one.index, one.label) == (2, "2")


def test_a_contrast_and_layers_are_read():
    one = _attribution(
        {
            "outputName": "y",
            "outputIndex": [2],
            "outputDisplayName": "c",
            "contrastIndex": [0],
            "contrastDisplayName": "a",
            "instanceOutputValue": 3.0,
            "featureAttributions": {"x": [1.0]},
            "layerAttributions": {"block 1": [[0.5], [0.25]]},
        }
    )
    assert (one.output, one.label, one.contrast, one.contrast_index) == ("y", "c", "a", 0)
    assert one.layers["block 1"].tolist() == [[0.5], [0.25]]


def test_no_server_is_told():
    client = RestClient("http://127.0.0.1:9", "m")
    with pytest.raises(CommandError, match=r"No server answers at http://127\.0\.0\.1:9"):
        client.describe()
    client.close()
