# ruff: noqa: PLW0108 - layers are made inside the lambda, while the policy is float64
import keras
import numpy as np
import pytest
from keras import layers, ops

from tests.explain.running import double, explain, functional, randomized, signal, worst
from tests.oracles import layers as oracle
from tests.oracles.network import Network, Node

NAMES = (
    "celu", "elu", "exponential", "gelu", "hard_shrink", "hard_sigmoid", "hard_silu", "hard_tanh", "leaky_relu",
    "log_sigmoid", "mish", "relu", "relu6", "selu", "sigmoid", "silu", "soft_shrink", "softplus", "softsign",
    "sparse_plus", "sparse_sigmoid", "squareplus", "tanh", "tanh_shrink", "threshold",
)  # fmt: skip
FUNCTIONS = {name: lambda name=name: layers.Activation(name) for name in NAMES if name != "threshold"} | {
    "threshold": lambda: layers.Activation(lambda x: keras.activations.threshold(x, 0.1, 0.0)),
    "gelu, tanh form": lambda: layers.Activation(lambda x: ops.gelu(x, approximate=True)),
    "LeakyReLU": lambda: layers.LeakyReLU(0.3),
    "ELU": lambda: layers.ELU(0.5),
    "PReLU": lambda: layers.PReLU(),
    "ReLU with all options": lambda: layers.ReLU(max_value=1.5, negative_slope=0.1, threshold=0.2),
    "swish written out": lambda: layers.Activation(lambda x: x * ops.sigmoid(1.5 * x)),
    "snake": lambda: layers.Activation(lambda x: x + ops.square(ops.sin(x))),
    "a chain": lambda: layers.Activation(lambda x: ops.tanh(ops.exp(-ops.abs(x)))),
    "a quotient": lambda: layers.Activation(lambda x: x / (1.0 + ops.abs(x))),
    "a choice": lambda: layers.Activation(lambda x: ops.where(x > 0.1, x, 0.5 * x - 0.05)),
    "clipped": lambda: layers.Activation(lambda x: ops.clip(x, -0.5, 0.5)),
    "a maximum": lambda: layers.Activation(lambda x: ops.maximum(x, 0.2 * x)),
    "cubed": lambda: layers.Activation(lambda x: x**3),
}


@pytest.mark.slow
@pytest.mark.parametrize("case", FUNCTIONS)
def test_an_activation_is_one_function_that_relevance_passes_whole(case):
    """Also those that Keras builds from several operations (SiLU, GELU, PReLU, mish): nothing is shared within."""
    model = functional(lambda x: layers.Dense(2)(FUNCTIONS[case]()(layers.Dense(6)(x))), (4,))
    x = signal(3, 4)
    values = model.get_weights()
    activation = model.layers[2]
    nodes = [
        Node("first", oracle.Dense(*values[:2]), ("x0",)),
        Node("activation", oracle.Activation(lambda z: np.asarray(activation(z[None]))[0]), ("first",)),
        Node("second", oracle.Dense(*values[-2:]), ("activation",)),
    ]
    expected = Network(["x0"], nodes).explain({"x0": x}, [1] * 3)["x0"]
    assert np.abs(expected).max() > 0
    assert worst(explain(model, x, target=1, composite="epsilon")["relevance"], expected) < 1e-9


@pytest.mark.parametrize("name", ["relu", "tanh", "silu", "gelu"])
def test_an_activation_of_the_input_passes_relevance_whole(name):
    model = functional(lambda x: layers.Dense(2)(layers.Activation(name)(x)), (4,))
    x = signal(3, 4)
    above = functional(lambda x: layers.Dense(2)(x), (4,))
    above.set_weights(model.get_weights())
    activated = np.asarray(keras.activations.get(name)(x))
    expected = explain(above, activated, composite="epsilon")["relevance"]
    assert worst(explain(model, x, composite="epsilon")["relevance"], expected) < 1e-12


def test_zero_passes_where_the_function_is_zero():
    """f(x) / x is 0/0 at 0: relevance passes without a division, and a shared bias reaches a zero input."""
    model = functional(lambda x: layers.Dense(1)(layers.Activation("tanh")(x)), (2,))
    kernel, bias = np.array([[2.0], [1.0]]), np.array([4.0])
    model.set_weights([kernel, bias])
    result = explain(model, np.zeros((1, 2)), composite="epsilon", bias="share")
    np.testing.assert_allclose(result["relevance"], [[2, 2]], rtol=1e-12)  # 4 over two inputs


def test_functions_in_float32_stay_close_to_float64():
    """On generic values, for LRP jumps where a pre-activation crosses zero; 1e-5 is some dozens of roundings."""
    results = []
    for policy in ("float32", "float64"):
        build = lambda x: layers.Dense(2)(layers.Activation("gelu")(layers.Dense(6, activation="silu")(x)))  # noqa: E731
        if policy == "float64":
            model = functional(build, (4,))
        else:
            x = keras.Input((4,), name="x0")
            model = randomized(keras.Model(x, build(x)))
        results.append(explain(model, signal(3, 4).astype(policy), target=0, composite="epsilon")["relevance"])
    assert [r.dtype for r in results] == [np.float32, np.float64]
    assert worst(results[0], results[1]) < 1e-5


def test_the_policy_of_the_tests_is_restored():
    with double():
        pass
    assert keras.config.dtype_policy().name == "float32"
