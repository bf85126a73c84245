from pathlib import Path

import keras
import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from export.errors import ConversionError
from export.interface import model_interface
from export.onnx import OPSET, onnx_names, write_onnx
from export.onnx_naming import rename_internals
from export.saved_model import trace_signatures
from tests.export import models


def converted(model: keras.Model, path: Path) -> onnxruntime.InferenceSession:
    write_onnx(path, trace_signatures(model_interface(model), None)["serving_default"], "mine")
    return onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])


def test_names_of_the_framework_do_not_leak(tmp_path: Path) -> None:
    converted(models.image_model(), tmp_path / "m.onnx")
    model = onnx.load(tmp_path / "m.onnx")
    onnx.checker.check_model(model, full_check=True)
    assert model.graph.name == "mine"
    assert [value.name for value in model.graph.input] == ["image"]
    assert [value.name for value in model.graph.output] == ["probabilities"]
    assert {entry.version for entry in model.opset_import if not entry.domain} == {OPSET}
    text = str([[dim.dim_param for dim in value.type.tensor_type.shape.dim] for value in model.graph.input])
    assert "unk__" not in text
    names = [node.name for node in model.graph.node] + [tensor.name for tensor in model.graph.initializer]
    assert not [name for name in names if "__" in name]


@pytest.mark.parametrize(
    ("boundaries", "values"),
    [([-1.0, 0.0, 0.5], [-2.0, -1.0, -0.5, 0.0, 0.4, 0.5, 9.0])],
)
def test_buckets_are_counted_from_the_left_boundary(
    boundaries: list[float], values: list[float], tmp_path: Path
) -> None:
    model = keras.Sequential([keras.Input((7,), name="x"), keras.layers.Discretization(bin_boundaries=boundaries)])
    x = np.array([values], np.float32)
    answer = converted(model, tmp_path / "m.onnx").run(None, {"x": x})[0]
    np.testing.assert_array_equal(answer, np.digitize(x, boundaries))  # [[0, 1, 1, 2, 2, 3, 3]]


def test_exact_gelu_and_celu_equal_their_definitions(tmp_path: Path) -> None:
    from math import erf, exp, sqrt

    inputs = keras.Input((9,), name="x")
    outputs = [keras.layers.Activation(name, name=name)(inputs) for name in ("gelu", "celu")]
    x = np.linspace(-6, 6, 9, dtype=np.float32)[None]
    gelu, celu = converted(keras.Model(inputs, outputs), tmp_path / "m.onnx").run(["gelu", "celu"], {"x": x})
    np.testing.assert_allclose(gelu[0], [v * (1 + erf(v / sqrt(2))) / 2 for v in x[0].tolist()], rtol=0, atol=1e-6)
    np.testing.assert_allclose(celu[0], [max(v, 0) + min(exp(v) - 1, 0) for v in x[0].tolist()], rtol=0, atol=1e-6)


def test_constants_that_were_captured_stay_constants(tmp_path: Path) -> None:
    session = converted(models.captured_constants_model(), tmp_path / "m.onnx")
    (name,) = [value.name for value in session.get_inputs()]
    answer = session.run(None, {name: np.array([[2.0, 6.0, 0.0]], np.float32)})[0]
    np.testing.assert_allclose(answer, [[1.0, 2.0, -1.0]], rtol=1e-6)  # (2-1)/1, (6-2)/2, (0-3)/3


def test_operations_without_an_equivalent_are_refused_by_name(tmp_path: Path) -> None:
    inputs = keras.Input((4,), name="x")
    model = keras.Model(inputs, keras.ops.lgamma(inputs) if hasattr(keras.ops, "lgamma") else keras.ops.erfinv(inputs))
    with pytest.raises(
        ConversionError, match=r"m.onnx: ONNX has no equivalent of the operation '\w+' \(1 times, first at"
    ):
        converted(model, tmp_path / "m.onnx")
    assert not (tmp_path / "m.onnx").exists()


def test_an_input_that_nothing_reads_stays_an_input(tmp_path: Path) -> None:
    used, unused = keras.Input((2,), name="used"), keras.Input((3,), name="unused")
    session = converted(keras.Model([used, unused], keras.layers.Dense(1)(used)), tmp_path / "m.onnx")
    assert [value.name for value in session.get_inputs()] == ["used", "unused"]


def test_outputs_give_way_to_inputs_of_their_name() -> None:
    assert onnx_names(["x", "target"], ["y", "target"]) == {"y": "y", "target": "target_output"}
    assert onnx_names(["x"], ["x", "x_output"]) == {"x": "x_output_output", "x_output": "x_output"}


def test_renaming_keeps_what_a_loop_or_branch_reads_from_outside() -> None:
    def branch(name: str, outer: str) -> onnx.GraphProto:
        node = helper.make_node("Mul", [outer, outer], [f"{name}__7"], name=f"{name}__3")
        return helper.make_graph(
            [node], name, [], [helper.make_tensor_value_info(f"{name}__7", TensorProto.FLOAT, [1])]
        )

    nodes = [
        helper.make_node("Add", ["x", "one__12"], ["sum__41"], name="Add__40"),
        helper.make_node(
            "If",
            ["flag"],
            ["y"],
            name="If__2",
            then_branch=branch("then", "sum__41"),
            else_branch=branch("else", "one__12"),
        ),
    ]
    graph = helper.make_graph(
        nodes,
        "g",
        [
            helper.make_tensor_value_info("x", TensorProto.FLOAT, [1]),
            helper.make_tensor_value_info("flag", TensorProto.BOOL, []),
        ],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1])],
        [numpy_helper.from_array(np.array([1], np.float32), "one__12")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=8)
    rename_internals(model)
    onnx.checker.check_model(model)
    assert "__" not in str(model)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    x = np.array([2], np.float32)
    assert session.run(None, {"x": x, "flag": np.array(True)})[0] == 9  # (2 + 1)^2
    assert session.run(None, {"x": x, "flag": np.array(False)})[0] == 1
