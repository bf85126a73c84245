"""Graphs as TensorFlow Serving's own test models are, over both transports: with state, and with wrong signatures."""

from typing import Any

import numpy as np
import pytest

from tests.serving.conformance.server import Server
from tests.serving.conformance.test_examples import values
from tests.serving.conformance.test_grpc_errors import example, examples, predict, regress

pytestmark = pytest.mark.slow

COUNTER = "/v1/models/counter:predict"
HALF_PLUS_THREE = "/v1/models/half_plus_three:predict"


def test_a_counter_counts_from_request_to_request(tensorflow: Server) -> None:
    def count(signature: str, inputs: Any) -> tuple[int, Any]:
        return tensorflow.post(COUNTER, {"signature_name": signature, "inputs": inputs})

    assert count("reset_counter", {}) == (200, {"outputs": 0.0})
    assert count("incr_counter", {}) == (200, {"outputs": 1.0})
    assert count("incr_counter_by", 2.5) == (200, {"outputs": 3.5})
    over_grpc = predict({}, name="counter", signature_name="incr_counter")
    assert list(tensorflow.call("Predict", over_grpc).outputs["output"].float_val) == [4.5]
    assert count("get_counter", {}) == (200, {"outputs": 4.5})


@pytest.mark.parametrize(
    ("form", "values", "received"),
    [
        ("inputs", [], "inputs is a plain value/list"),
        ("inputs", 5, "inputs is a plain value/list"),
        ("inputs", {"b64": "YQ=="}, "inputs is a plain value/list"),
        ("instances", [1], "instances is a plain list"),
        ("instances", [[]], "instances is a plain list"),
    ],
)
def test_a_signature_without_inputs_takes_none(tensorflow: Server, form: str, values: Any, received: str) -> None:
    status, reply = tensorflow.post(COUNTER, {"signature_name": "get_counter", form: values})
    assert reply == {"error": f"{received}, but the signature takes no input. Send an empty object: 'inputs': {{}}"}
    assert status == 400


@pytest.mark.parametrize("shape", [(), (3,), (2, 2)])
def test_shapes_that_a_signature_declares_wrongly_do_not_matter(tensorflow: Server, shape: tuple[int, ...]) -> None:
    x = np.full(shape, 4, np.float32)
    expected = np.full(shape, 5.0).tolist()  # 4 / 2 + 3
    assert tensorflow.post(HALF_PLUS_THREE, {"inputs": x.tolist()}) == (200, {"outputs": expected})
    reply = tensorflow.call("Predict", predict({"x": x}, name="half_plus_three"))
    assert [dim.size for dim in reply.outputs["y"].tensor_shape.dim] == list(shape)


def test_a_type_that_a_signature_declares_wrongly_does_not_matter_to_regress(tensorflow: Server) -> None:
    spec = {"name": "half_plus_three", "signature_name": "tensorflow/serving/regress"}
    assert values(tensorflow.call("Regress", regress(spec, examples(example(x=[4.0]), example(x=[1.0]))))) == [5.0, 3.5]
