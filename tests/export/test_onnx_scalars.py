"""Scalars beside grey images: the same numbers."""

import keras
import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from export.interface import model_interface
from export.onnx import write_onnx
from export.onnx_scalars import widen_scalars
from export.saved_model import trace_signatures


def model_of(operation, operands, *, shape=("batch", 4, 5, 1), scalar=2.0):
    value = numpy_helper.from_array(np.array(scalar, np.float32), "c")
    graph = helper.make_graph(
        [helper.make_node(operation, operands, ["y"])],
        "graph",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [value],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)


def run(model, x):
    return onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"]).run(
        None, {"x": x}
    )[0]


def dims(model):
    (node,) = model.graph.node
    constants = {constant.name: list(constant.dims) for constant in model.graph.initializer}
    return next(constants[name] for name in node.input if name in constants)


@pytest.mark.parametrize("operands", [("x", "c"), ("c", "x")])
@pytest.mark.parametrize("operation", ["Add", "Div", "Max", "Min", "Mul", "Pow", "Sub"])
def test_the_result_is_the_same(operation, operands):
    x = np.random.default_rng(0).uniform(0.5, 2, (3, 4, 5, 1)).astype(np.float32)
    model = model_of(operation, operands)
    expected = run(model, x)
    assert widen_scalars(model) == 1
    assert dims(model) == [1, 1, 1, 1]
    np.testing.assert_array_equal(run(model, x), expected)


@pytest.mark.parametrize(
    ("shape", "scalar"),
    [
        (("batch", 4, 5, 3), 2.0),  # fast as it is
        (("batch", 4, 5, None), 2.0),
        (("batch",), 2.0),
        ((1,), [2.0]),
        (("batch", 1), [[2.0]]),
        (("batch", 1), [[[2.0]]]),  # gives the result its rank
        (("batch", 4, 5, 1), [2.0, 3.0]),
    ],
)
def test_what_gains_nothing_or_would_change_is_left_alone(shape, scalar):
    model = model_of("Mul", ("x", "c"), shape=shape, scalar=scalar)
    assert widen_scalars(model) == 0
    assert dims(model) == list(np.shape(scalar))


def test_a_grey_image_is_scaled_by_a_constant_of_its_rank(tmp_path):
    x = keras.Input((8, 8, 1))
    model = keras.Model(x, keras.layers.Dense(3)(keras.layers.Flatten()(keras.layers.Rescaling(1 / 255)(x))))
    path = tmp_path / "m.onnx"
    write_onnx(path, trace_signatures(model_interface(model), None)["serving_default"], "grey")
    graph = onnx.load(path).graph
    (scaling,) = (node for node in graph.node if node.op_type == "Mul")
    constants = {constant.name: list(constant.dims) for constant in graph.initializer}
    assert [constants[name] for name in scaling.input if name in constants] == [[1, 1, 1, 1]]
