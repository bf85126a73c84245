import numpy as np
import onnx
import onnxruntime
import pytest
import tensorflow as tf

from export.onnx import write_onnx
from export.onnx_einsum import as_product
from export.saved_model import Signature

BATCH, EQUATIONS = (
    3,
    [
        # Equation, sizes of the first factor and of the second; None is the batch.
        ("abc,cde->abde", (None, 5, 6), (6, 2, 4)),  # a projection into heads
        ("abcd,cde->abe", (None, 5, 2, 4), (2, 4, 6)),  # and out of them
        ("abde,cde->abc", (None, 5, 2, 4), (6, 2, 4)),  # relevance on its way through a projection
        ("abe,cde->abcd", (None, 5, 6), (2, 4, 6)),
        ("aecd,abcd->acbe", (None, 5, 2, 4), (None, 7, 2, 4)),  # scores
        ("acbe,aecd->abcd", (None, 2, 7, 5), (None, 5, 2, 4)),  # what the scores weight
        ("acbe,abcd->aecd", (None, 2, 7, 5), (None, 7, 2, 4)),
        ("abxy,abzy->axbz", (None, 3, 4, 5), (None, 3, 2, 5)),  # the result is transposed
        ("abcxy,abyz->abcxz", (None, 3, 4, 5, 2), (None, 3, 2, 6)),  # two axes of rows between others
        ("ba,cb->ac", (4, None), (5, 4)),
    ],
)
NO_PRODUCTS = [
    ("ab,ab->ab", (None, 4), (None, 4)),
    ("ab,b->a", (None, 4), (4,)),
    ("a,b->ab", (None,), (4,)),
    ("abc,bd->ad", (None, 4, 3), (4, 5)),  # c is summed over one factor alone
]


def in_onnxruntime(equation, shapes, folder):
    specs = {name: tf.TensorSpec(shape, "float32", name=name) for name, shape in zip("xy", shapes, strict=True)}
    function = tf.function(lambda x, y: {"z": tf.einsum(equation, x, y)}, autograph=False).get_concrete_function(
        **specs
    )
    outputs = {"z": tf.TensorSpec(function.structured_outputs["z"].shape, "float32", name="z")}
    write_onnx(folder / "m.onnx", Signature(function, specs, outputs), "model")
    session = onnxruntime.InferenceSession(folder / "m.onnx", providers=["CPUExecutionProvider"])
    return lambda **arrays: session.run(None, arrays)[0], onnx.load(folder / "m.onnx").graph


def factors(shapes, batch):
    random = np.random.default_rng(0)
    return [random.normal(size=[size or batch for size in shape]).astype(np.float32) for shape in shapes]


@pytest.mark.parametrize(("equation", "first", "second"), EQUATIONS + NO_PRODUCTS)
def test_sums_are_what_numpy_computes(equation, first, second, tmp_path):
    run, _ = in_onnxruntime(equation, (first, second), tmp_path)
    for batch in (1, BATCH):
        # "ba,cb->ac" has its batch last; what isn't named is sized alike in both factors.
        x, y = factors((first, second), batch)
        np.testing.assert_allclose(run(x=x, y=y), np.einsum(equation, x, y), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("equation", "first", "second"), EQUATIONS)
def test_a_product_of_matrices_computes_no_shapes(equation, first, second, tmp_path):
    _, graph = in_onnxruntime(equation, (first, second), tmp_path)
    kinds = [node.op_type for node in graph.node]
    assert kinds.count("MatMul") == 1
    assert set(kinds) <= {"MatMul", "Transpose", "Reshape", "Identity"}


@pytest.mark.parametrize(("equation", "first", "second"), NO_PRODUCTS)
def test_what_is_no_product_of_matrices_is_left_to_tf2onnx(equation, first, second):
    assert as_product(equation, [[-1 if size is None else size for size in shape] for shape in (first, second)]) is None


@pytest.mark.parametrize("order", [1, -1])
def test_the_order_of_factors_is_the_one_that_moves_rows(order):
    """What values get is A^T c: A is read transposed, and rows of c `(query, head, size)` are moved, no elements."""
    labels, shapes = ["abcd", "acbe"], [[-1, 7, 2, 4], [-1, 2, 7, 5]]
    product = as_product(",".join(labels[::order]) + "->aecd", shapes[::order])
    assert (product.left, product.right) == ("acbe", "abcd")


def test_axes_of_unknown_sizes_are_not_merged():
    assert as_product("abcd,cde->abe", [[-1, 5, -1, 4], [-1, 4, 6]]) is None
    assert as_product("aecd,abcd->acbe", [[-1, -1, 2, 4], [-1, -1, 2, 4]]) is not None


def test_an_axis_that_is_repeated_is_left_to_tf2onnx():
    assert as_product("abc,acd->abd", [[3, 5, 6], [1, 6, 2]]) is None
