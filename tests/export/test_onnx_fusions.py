"""Convolutions with few filters, rewritten as transposed ones: the same numbers."""

from itertools import product

import numpy as np
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from export.onnx_fusions import transpose_narrow_convolutions

CHANNELS = 16


def model_of(nodes, constants, *, size=(8, 12), outputs=("y",)):
    inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", CHANNELS, *size])]
    results = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs]
    initializers = [numpy_helper.from_array(value, name) for name, value in constants.items()]
    graph = helper.make_graph(nodes, "graph", inputs, results, initializers)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)


def run(model, x):
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, {"x": x})


def operations(model):
    return [node.op_type for node in model.graph.node]


def drawn(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def in_blocks(kernel, block):
    """Every shift of the kernel within a block, a filter each."""
    shifts = [
        np.pad(kernel, [(0, 0), (0, 0), *((place, block - 1 - place) for place in places)])
        for places in product(range(block), repeat=2)
    ]
    return np.concatenate(shifts)


def blocked(kernel, block, pads, *, size=(8, 12)):
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["d"], strides=[block, block], pads=pads),
        helper.make_node("DepthToSpace", ["d"], ["y"], blocksize=block),
    ]
    return model_of(nodes, {"w": in_blocks(kernel, block)}, size=size)


def check_same(model, *, rewritten, size=(8, 12)):
    x = drawn(3, CHANNELS, *size, seed=1)
    before = run(model, x)
    assert transpose_narrow_convolutions(model) == rewritten
    for expected, received in zip(before, run(model, x), strict=True):
        np.testing.assert_allclose(received, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("filters", [1, 3, 8])
@pytest.mark.parametrize("pads", [[0, 0, 0, 0], [1, 1, 1, 1], [2, 0, 1, 2]])
def test_a_plain_convolution_with_few_filters_gives_the_same_transposed(filters, pads):
    model = model_of([helper.make_node("Conv", ["x", "w"], ["y"], pads=pads)], {"w": drawn(filters, CHANNELS, 3, 3)})
    check_same(model, rewritten=1)
    assert operations(model) == ["ConvTranspose"]
    assert [constant.name for constant in model.graph.initializer] == ["w/transposed"]


@pytest.mark.parametrize(("block", "channels"), [(2, 1), (2, 3), (4, 1)])
@pytest.mark.parametrize(("window", "pads"), [((3, 3), [1, 1, 1, 1]), ((3, 5), [1, 2, 1, 2]), ((3, 3), [2, 0, 0, 2])])
def test_a_convolution_that_writes_blocks_is_one_of_stride_1(block, channels, window, pads):
    model = blocked(drawn(channels, CHANNELS, *window), block, pads)
    check_same(model, rewritten=1)
    assert operations(model) == ["ConvTranspose"]


def test_blocks_that_leave_a_rest_are_kept():
    model = blocked(drawn(1, CHANNELS, 3, 3), 4, [1, 1, 1, 1], size=(10, 12))
    check_same(model, rewritten=0, size=(10, 12))


def test_filters_that_are_no_shifts_of_one_kernel_are_kept():
    model = blocked(drawn(1, CHANNELS, 3, 3), 2, [1, 1, 1, 1])
    weights = numpy_helper.to_array(model.graph.initializer[0]).copy()
    weights[3, 5, 2, 2] += 1
    model.graph.initializer[0].CopyFrom(numpy_helper.from_array(weights, "w"))
    check_same(model, rewritten=0)


@pytest.mark.parametrize(
    ("shape", "attributes"),
    [
        ((16, CHANNELS, 3, 3), {}),
        ((2, CHANNELS, 1, 1), {}),
        ((4, CHANNELS // 4, 3, 3), {"group": 4}),
        ((2, CHANNELS, 3, 3), {"dilations": [2, 2]}),
        ((2, CHANNELS, 3, 3), {"strides": [2, 2]}),
        ((2, CHANNELS, 3, 3), {"auto_pad": "SAME_UPPER"}),
        ((2, CHANNELS, 3, 3), {"pads": [3, 3, 3, 3]}),
    ],
    ids=["many filters", "one position", "groups", "dilated", "strided", "named padding", "wide padding"],
)
def test_what_is_no_faster_or_no_equal_is_kept(shape, attributes):
    model = model_of([helper.make_node("Conv", ["x", "w"], ["y"], **attributes)], {"w": drawn(*shape)})
    check_same(model, rewritten=0)


def test_blocks_that_somebody_else_reads_are_kept():
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["d"], strides=[2, 2], pads=[1, 1, 1, 1]),
        helper.make_node("DepthToSpace", ["d"], ["y"], blocksize=2),
    ]
    model = model_of(nodes, {"w": in_blocks(drawn(3, CHANNELS, 3, 3), 2)}, outputs=("y", "d"))
    check_same(model, rewritten=0)


def test_constants_that_only_a_branch_reads_stay():
    value = helper.make_tensor_value_info("z", TensorProto.FLOAT, None)
    branch = helper.make_graph([helper.make_node("Identity", ["inner"], ["z"])], "branch", [], [value])
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["y"], pads=[1, 1, 1, 1]),
        helper.make_node("If", ["yes"], ["other"], then_branch=branch, else_branch=branch),
    ]
    constants = {"w": drawn(1, CHANNELS, 3, 3), "yes": np.array(True), "inner": drawn(2)}
    check_same(model_of(nodes, constants, outputs=("y", "other")), rewritten=1)
