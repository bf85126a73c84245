"""The functions of `keras.ops`: what a stranger's layer may call, and what is refused by name."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers, ops

from explain import UnsupportedOperationError, build_explainer
from tests.explain.running import call

SHAPE = (3, 4)
ONES = np.ones


def of_one(*names):
    return {name: lambda x, name=name: getattr(ops, name)(x) for name in names}


def along_the_last(*names):
    return {name: lambda x, name=name: getattr(ops, name)(x, axis=-1) for name in names}


def of_two(*names):
    return {name: lambda x, name=name: getattr(ops, name)(x, ops.flip(x, 1)) for name in names}


def square(x):
    return ops.matmul(x, ops.transpose(x, (0, 2, 1)))


EXPLAINED = {
    **of_one(
        "abs", "arcsinh", "arctan", "cbrt", "ceil", "celu", "cos", "cosh", "deg2rad", "elu", "erf", "erfc", "exp",
        "exp2", "expm1", "floor", "gelu", "hard_shrink", "hard_sigmoid", "hard_silu", "hard_tanh", "i0", "leaky_relu",
        "log_sigmoid", "log_softmax", "nan_to_num", "negative", "ravel", "reciprocal", "relu", "relu6", "round", "selu",
        "sigmoid", "sign", "silu", "sin", "sinc", "sinh", "soft_shrink", "softplus", "softsign", "sparse_plus",
        "sparse_sigmoid", "square", "squareplus", "stop_gradient", "tan", "tanh", "tanh_shrink", "tril", "triu",
        "trunc",
    ),
    **along_the_last(
        "average", "cumsum", "diff", "flip", "glu", "logsumexp", "max", "mean", "median", "min", "nanmax", "nanmean",
        "nansum", "norm", "normalize", "prod", "ptp", "rms_normalization", "sort", "std", "sum", "trapezoid", "var",
    ),
    **of_two("add", "hypot", "logaddexp", "maximum", "minimum", "multiply", "divide_no_nan"),
    "arccosh": lambda x: ops.arccosh(x * x + 1.5),
    "log": lambda x: ops.log(x * x + 1.5),
    "rsqrt": lambda x: ops.rsqrt(x * x + 1.5),
    "sqrt": lambda x: ops.sqrt(x * x + 1.5),
    "arcsin": lambda x: ops.arcsin(ops.tanh(x) / 2),
    "erfinv": lambda x: ops.erfinv(ops.tanh(x) / 2),
    "clip": lambda x: ops.clip(x, -1, 1),
    "divide": lambda x: ops.divide(x, 2.0),
    "floor_divide": lambda x: ops.floor_divide(x, 0.5),
    "mod": lambda x: ops.mod(x, 2.0),
    "power": lambda x: ops.power(x, 2.0),
    "threshold": lambda x: ops.threshold(x, 0.1, 0.0),
    "where": lambda x: ops.where(x > 0, x, ops.flip(x, 1)),
    "matmul": square,
    "einsum": lambda x: ops.einsum("bij,bkj->bik", x, x),
    "tensordot": lambda x: ops.tensordot(x, ONES((4, 3), "f"), 1),
    "dot_product_attention": lambda x: ops.dot_product_attention(x[:, :, None], x[:, :, None], x[:, :, None]),
    "conv": lambda x: ops.conv(x, ONES((2, 4, 3), "f")),
    "conv_transpose": lambda x: ops.conv_transpose(x, ONES((2, 3, 4), "f")),
    "depthwise_conv": lambda x: ops.depthwise_conv(x, ONES((2, 4, 1), "f")),
    "separable_conv": lambda x: ops.separable_conv(x, ONES((2, 4, 1), "f"), ONES((1, 4, 2), "f")),
    "average_pool": lambda x: ops.average_pool(x, 2),
    "max_pool": lambda x: ops.max_pool(x, 2),
    "array_split": lambda x: ops.array_split(x, 2, axis=2)[1],
    "concatenate": lambda x: ops.concatenate([x, x], 1),
    "depth_to_space": lambda x: ops.depth_to_space(x[:, :, None], 2),
    "space_to_depth": lambda x: ops.space_to_depth(ops.reshape(x, (-1, 2, 2, 3)), 2),
    "diagonal": lambda x: ops.diagonal(x, axis1=1, axis2=2),
    "expand_dims": lambda x: ops.squeeze(ops.expand_dims(x, 1), 1),
    "extract_sequences": lambda x: ops.extract_sequences(x, 2, 1),
    "get_item": lambda x: x[:, 1, None, ::-1],
    "moveaxis": lambda x: ops.moveaxis(x, 1, 2),
    "pad": lambda x: ops.pad(x, ((0, 0), (1, 1), (0, 0))),
    "quantile": lambda x: ops.quantile(x, 0.5, axis=-1),
    "rearrange": lambda x: ops.rearrange(x, "b i j -> b j i"),
    "repeat": lambda x: ops.repeat(x, 2, axis=1),
    "roll": lambda x: ops.roll(x, 1, axis=1),
    "rot90": lambda x: ops.rot90(x, axes=(1, 2)),
    "slice": lambda x: x[:, 1:2],
    "stack": lambda x: ops.stack([x, x], 1),
    "take": lambda x: ops.take(x, [2, 0], axis=1),
    "tile": lambda x: ops.tile(x, (1, 2, 1)),
    "top_k": lambda x: ops.top_k(x, 2)[0],
    "trace": lambda x: ops.trace(x, axis1=1, axis2=2),
    "unstack": lambda x: ops.unstack(x, axis=1)[1],
    "vectorized_map": lambda x: ops.vectorized_map(lambda row: row * 2, x),
}  # fmt: skip

LOOP, BRANCH, CHOICE = "belongs to a loop", "belongs to a branch", "is a choice"
REFUSED = {
    "fori_loop": (lambda x: ops.fori_loop(0, 3, lambda _, v: v * 2, x), LOOP),
    "map": (lambda x: ops.map(lambda row: row * 2, x), LOOP),
    "scan": (lambda x: ops.scan(lambda c, row: (c + row, c), x[0] * 0, x)[1], LOOP),
    "while_loop": (lambda x: ops.while_loop(lambda v: ops.sum(v) < 9, lambda v: (v + 1,), (x,))[0], LOOP),
    "cond": (lambda x: ops.cond(ops.sum(x) > 0, lambda: x, lambda: -x), BRANCH),
    "switch": (lambda x: ops.switch(ops.cast(ops.sum(x), "int32"), [lambda v: v, lambda v: -v], x), BRANCH),
    "argmax": (lambda x: ops.argmax(x, axis=-1), CHOICE),
    "any": (lambda x: ops.any(x > 0, axis=-1), CHOICE),
    "isfinite": (ops.isfinite, CHOICE),
    "greater": (lambda x: ops.greater(x, 0.5), CHOICE),
    "argsort": (lambda x: ops.argsort(x, axis=-1), "positions has no place"),
    "arctan2": (lambda x: ops.arctan2(x, ops.flip(x, 1)), "'Atan2'"),
    "cholesky": (lambda x: ops.cholesky(square(x)), "'Cholesky'"),
    "cumprod": (lambda x: ops.cumprod(x, axis=-1), "'Cumprod'"),
    "det": (lambda x: ops.det(square(x)), "'MatrixDeterminant'"),
    "inv": (lambda x: ops.inv(square(x)), "'MatrixInverse'"),
    "rfft": (lambda x: ops.rfft(x)[0], "'Real'"),
    "segment_prod": (lambda x: ops.segment_prod(x, np.array([0, 1]), 2), "'UnsortedSegmentProd'"),
    "slice_update": (lambda x: ops.slice_update(x, (0, 1, 0), ONES((1, 1, 4), "f")), "'XlaDynamicUpdateSlice'"),
    "solve": (lambda x: ops.solve(square(x), x), "'MatrixSolve'"),
    "svd": (lambda x: ops.svd(x)[1], "'Svd'"),
}


class Function(layers.Layer):
    """A layer that calls one function, and adds its elements up with unequal weights."""

    def __init__(self, function, **options):
        super().__init__(**options)
        self.function = function

    def call(self, x):
        y = ops.cast(self.function(x), "float32")
        flat = ops.reshape(y, (ops.shape(x)[0], -1))
        return ops.sum(flat * ops.cast(1 + ops.arange(ops.shape(flat)[1]), "float32"), axis=1, keepdims=True)

    def compute_output_spec(self, x):
        return keras.KerasTensor((x.shape[0], 1), "float32")


@pytest.mark.slow
def test_functions_are_explained():
    """All in one model, each on an input of its own."""
    inputs = {name: keras.Input(SHAPE, name=f"x_{name}") for name in EXPLAINED}
    scores = [Function(function, name=f"of_{name}")(inputs[name]) for name, function in EXPLAINED.items()]
    model = keras.Model(list(inputs.values()), layers.Add()(scores))
    values = np.random.default_rng(0).normal(size=(2, *SHAPE)).astype(np.float32)
    result = call(build_explainer(model, composite="epsilon"), {f"x_{name}": values for name in EXPLAINED})
    for name in EXPLAINED:
        relevance = result[f"relevance_x_{name}"]
        assert np.isfinite(relevance).all(), name
        assert np.abs(relevance).max() > 1e-6, name


@pytest.mark.parametrize("name", REFUSED)
def test_functions_without_a_rule_are_refused_by_name(name):
    function, message = REFUSED[name]
    x = keras.Input(SHAPE, batch_size=2, name="x")
    with pytest.raises(UnsupportedOperationError, match=rf"layer 'of_{name}'.*{message}|{message}.*layer 'of_{name}'"):
        build_explainer(keras.Model(x, Function(function, name=f"of_{name}")(x)), composite="epsilon")


MOVES = {
    "roll": lambda x: ops.roll(x, 1, axis=1),
    "triu": ops.triu,
    "diagonal": lambda x: ops.diagonal(x, axis1=1, axis2=2),
    "sort": lambda x: ops.sort(x, axis=-1),
    "cumsum": lambda x: ops.cumsum(x, axis=-1),
    "get_item": lambda x: x[:, None, ::-1, 2],
    "depth_to_space": lambda x: ops.depth_to_space(x[:, :, None], 2),
}


@pytest.mark.parametrize("name", MOVES)
def test_what_moves_or_adds_up_is_input_times_gradient(name):
    """Each of these is linear where the order stands: the second oracle, by TensorFlow's own derivative."""
    x = keras.Input(SHAPE, name="x")
    model = keras.Model(x, Function(MOVES[name])(x))
    values = np.random.default_rng(1).normal(size=(2, *SHAPE)).astype(np.float32)
    source = tf.constant(values)
    with tf.GradientTape() as tape:
        tape.watch(source)
        score = model(source)
    found = call(build_explainer(model, composite="epsilon"), {"x": values})["relevance"]
    np.testing.assert_allclose(found, values * tape.gradient(score, source).numpy(), rtol=1e-4, atol=1e-4)


def test_a_product_of_n_numbers_gives_each_the_same():
    x = keras.Input((4,), name="x")
    result = call(build_explainer(keras.Model(x, ops.prod(x, axis=-1, keepdims=True))), {"x": ONES((1, 4), "f") * 2})
    np.testing.assert_allclose(result["relevance"], [[4, 4, 4, 4]])  # 2 * 2 * 2 * 2 / 4
