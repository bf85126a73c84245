import numpy as np
import pytest
from keras import layers, ops

from tests.explain.running import assert_equals_oracle, explain, functional, signal, worst
from tests.oracles import layers as oracle
from tests.oracles.network import Network, Node


@pytest.mark.slow
@pytest.mark.parametrize("composite", ["epsilon", "epsilon_plus"])
@pytest.mark.parametrize("bias", ["absorb", "ignore", "share"])
@pytest.mark.parametrize("shape", [(5,), (3, 5), (2, 3, 4)])
def test_dense_layers_on_any_rank_equal_the_oracle(shape, composite, bias):
    model = functional(
        lambda x: layers.Dense(3)(layers.Flatten()(layers.Dense(4, activation="relu")(layers.Dense(6)(x)))), shape
    )
    assert_equals_oracle(model, signal(3, *shape), composite=composite, bias=bias)


class Product(layers.Layer):
    """A product with a weight, written out by a stranger."""

    def __init__(self, transposed):
        super().__init__()
        self.transposed = transposed

    def build(self, shape):
        size = (3, shape[-1]) if self.transposed else (shape[-1], 3)
        self.matrix = self.add_weight(shape=size, name="matrix")

    def call(self, x):
        return ops.matmul(x, ops.transpose(self.matrix) if self.transposed else self.matrix)


@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize("shape", [(4,), (2, 4)])
def test_a_product_with_a_weight_is_a_dense_layer(shape, transposed):
    model = functional(lambda x: layers.Dense(2)(layers.Flatten()(Product(transposed)(x))), shape)
    matrix, head, bias = model.get_weights()
    nodes = [
        Node("product", oracle.Dense(matrix.T if transposed else matrix), ("x0",)),
        Node("flat", oracle.Move(lambda x: x.ravel()), ("product",)),
        Node("head", oracle.Dense(head, bias), ("flat",)),
    ]
    x = signal(2, *shape)
    expected = Network(["x0"], nodes).explain({"x0": x}, [-1, -1])["x0"]
    assert worst(explain(model, x, composite="epsilon")["relevance"], expected) < 1e-9


def test_hand_worked_two_layers():
    # x = (1, 2), W1 = ((1, -1), (1, 1)), b1 = (0, 1): z = (3, 2), relu the same. W2 = (2, -1): y = 4.
    # R_hidden = (6, -2). Layer 1: R_0 = 1*1/3*6 + 1*-1/2*-2 = 2 + 1 = 3, R_1 = 2*1/3*6 + 2*1/2*-2 = 4 - 2 = 2,
    # the bias absorbs 1/2*-2 = -1: 3 + 2 - 1 = 4.
    model = functional(lambda x: layers.Dense(1)(layers.Dense(2, activation="relu")(x)), (2,))
    model.set_weights([np.array(w) for w in ([[1.0, -1.0], [1.0, 1.0]], [0.0, 1.0], [[2.0], [-1.0]], [0.0])])
    result = explain(model, np.array([[1.0, 2.0]]), composite="epsilon", epsilon=1e-12)
    assert result["explained_value"] == pytest.approx([4.0], rel=1e-12)
    assert result["relevance"][0] == pytest.approx([3.0, 2.0], rel=1e-10)
    assert result["conservation_gap"] == pytest.approx([-1.0], rel=1e-10)
