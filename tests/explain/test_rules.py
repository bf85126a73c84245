# ruff: noqa: PLW0108 - layers are made inside the lambda, while the policy is float64
import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

from explain import rules
from explain.errors import CompositeError
from explain.relevance import Relevance
from explain.rules import Rule
from tests.explain.running import RULE_TOLERANCE, functional, signal, with_map, worst
from tests.oracles import rules as oracle
from tests.oracles.from_keras import network_of

# Name: a layer with weights, and the shape of an example that it reads.
LAYERS = {
    "dense": (lambda: layers.Dense(4), (5,)),
    "dense without bias": (lambda: layers.Dense(4, use_bias=False), (5,)),
    "dense on rows": (lambda: layers.Dense(4), (3, 5)),
    "convolution 1d": (lambda: layers.Conv1D(3, 3, padding="same"), (6, 2)),
    "convolution strided": (lambda: layers.Conv2D(3, (3, 2), strides=(2, 1)), (6, 5, 2)),
    "convolution dilated": (lambda: layers.Conv2D(2, 3, padding="same", dilation_rate=2), (6, 5, 2)),
    "convolution in groups": (lambda: layers.Conv2D(4, 3, padding="same", groups=2), (5, 4, 4)),
    "convolution 3d": (lambda: layers.Conv3D(2, 2, strides=2, padding="same"), (3, 4, 3, 2)),
}
# All but `pass`, which looks at no weights.
SHARING = sorted(rules.RULES.keys() - {"pass"})
BIAS_MODES = ("absorb", "ignore", "share")
# Of the rules that take more than a stabiliser and a bias mode.
NUMBERS = {"alpha_beta": {"alpha": 3.0, "beta": 2.0}, "gamma": {"gamma": 0.5}, "z_box": {"low": -4.0, "high": 5.0}}


def apply(applied, model, x, relevance, *, non_negative=False):
    """Relevance of the input, and what the bias and the stabiliser absorbed, of the model's only affine map."""

    def distribute(node, r):
        ends = lambda low, high: (tf.fill(tf.shape(node.input), low), tf.fill(tf.shape(node.input), high))  # noqa: E731
        bounds = lambda low, high: [tf.cast(end, tf.float64) for end in ends(low, high)]  # noqa: E731
        result = applied.apply(node, Relevance(node.output, relevance=r), non_negative=non_negative, bounds=bounds)
        bias = result.absorbed_bias
        return result.relevance.value(), r * 0 if bias is None else bias, result.absorbed_stabilizer

    # The map is traced on x itself, so that x is what its input holds.
    return with_map(model, distribute, x, relevance)


def rule(name, **parameters):
    """A rule with what it takes of the parameters, and its own numbers, far from their defaults."""
    taken = {key: value for key, value in parameters.items() if key in rules.RULES[name].parameters}
    return Rule(name, {**taken, **NUMBERS.get(name, {})})


def dense(kernel, bias=None):
    kernel = np.asarray(kernel, np.float64)
    model = functional(lambda x: layers.Dense(kernel.shape[1], use_bias=bias is not None)(x), (kernel.shape[0],))
    model.set_weights([kernel] if bias is None else [kernel, np.asarray(bias, np.float64)])
    return model


@pytest.mark.parametrize("name", SHARING)
@pytest.mark.parametrize("layer", LAYERS)
def test_rule_equals_its_equation_for_inputs_of_any_sign(name, layer):
    make, shape = LAYERS[layer]
    model = functional(lambda x: make()(x), shape)
    signs = [signal(1, *shape, sign=sign) for sign in ("mixed", "non_negative", "negative")]
    x = np.concatenate([*signs, np.zeros((1, *shape))])
    (node,) = network_of(model).nodes
    r = signal(4, *node.layer.affine(shape).output_shape, seed=2)
    numbers = NUMBERS.get(name, {})
    for bias in BIAS_MODES:
        actual = apply(rule(name, epsilon=1e-3, bias=bias), model, x, r)[0].reshape(x.shape)  # rows are a batch
        for index in range(len(x)):
            expected = oracle.RULES[name](
                x[index].ravel(), node.layer.affine(shape), r[index].ravel(), stabilizer=1e-3, bias=bias, **numbers
            )
            assert np.abs(expected).max() > 0 or index == 3  # a zero input may have no relevance
            np.testing.assert_allclose(
                actual[index].ravel(), expected, atol=RULE_TOLERANCE * np.abs(expected).max(), rtol=0
            )


# x = (2, -1), w = ((1, -2), (3, 1)), b = (2, -1): z = (2 - 3 + 2, -4 - 1 - 1) = (1, -6), without bias (-1, -5).
HAND_WORKED = [
    # epsilon = 1, c = (3 / (1 + 1), 7 / (-6 - 1)) = (1.5, -1). R = (2 (1*1.5 - 2*-1), -1 (3*1.5 + 1*-1)) = (7, -3.5).
    # The bias absorbs 1.5*2 and -1*-1, the stabiliser 1.5*1 and -1*-1; 7 - 3.5 + 4 + 2.5 = 10 = 3 + 7.
    ("epsilon", "absorb", (3.0, 7.0), (7.0, -3.5), (3.0, 1.0), (1.5, 1.0)),
    # c = (4 / (-1 - 1), 12 / (-5 - 1)) = (-2, -2). R = (2 (-2 + 4), -1 (-6 - 2)) = (4, 8); the stabiliser -2*-1 twice.
    ("epsilon", "ignore", (4.0, 12.0), (4.0, 8.0), (0.0, 0.0), (2.0, 2.0)),
    # As `absorb`, and (3 + 1.5) + (1 + 1) = 6.5 is spread over two inputs: (7 + 3.25, -3.5 + 3.25).
    ("epsilon", "share", (3.0, 7.0), (10.25, -0.25), (0.0, 0.0), (0.0, 0.0)),
    # Positive products: 2*1 for the first output, none for the second. c = (5 / (2 + 2 + 1), 7 / (0 + 0 + 1)) = (1, 7).
    # R = (2*1, 0); the bias absorbs 1*2, the stabiliser 1*1 and 7*1; 2 + 2 + 8 = 12 = 5 + 7.
    ("z_plus", "absorb", (5.0, 7.0), (2.0, 0.0), (2.0, 0.0), (1.0, 7.0)),
    # c = (6 / (2 + 1), 7 / 1) = (2, 7): R = (4, 0), the stabiliser 2 and 7.
    ("z_plus", "ignore", (6.0, 7.0), (4.0, 0.0), (0.0, 0.0), (2.0, 7.0)),
    # As `absorb`, and 2 + 1 + 7 = 10 is spread over two inputs.
    ("z_plus", "share", (5.0, 7.0), (7.0, 5.0), (0.0, 0.0), (0.0, 0.0)),
]


@pytest.mark.parametrize(("name", "bias", "r", "expected", "by_bias", "by_stabilizer"), HAND_WORKED)
def test_rule_gives_the_hand_worked_numbers(name, bias, r, expected, by_bias, by_stabilizer):
    model = dense([[1, -2], [3, 1]], [2, -1])
    hand_worked = Rule(name, {"epsilon": 1.0, "bias": bias})
    relevance, bias_part, stabilizer_part = apply(hand_worked, model, np.array([[2.0, -1.0]]), np.array([r]))
    np.testing.assert_allclose(relevance, [expected], rtol=1e-14)
    np.testing.assert_allclose(bias_part, [by_bias], rtol=1e-14)
    np.testing.assert_allclose(stabilizer_part, [by_stabilizer], rtol=1e-14)


def test_stabilizer_of_a_zero_denominator_is_positive():
    # z = 1*1 - 1 = 0, s(0) = +1: c = 3 / 0.5 = 6, R = 6, the bias absorbs -6 and the stabiliser 3.
    result = apply(Rule("epsilon", {"epsilon": 0.5}), dense([[1]], [-1]), np.array([[1.0]]), np.array([[3.0]]))
    np.testing.assert_array_equal(np.ravel(result), [6, -6, 3])


@pytest.mark.parametrize("name", ["epsilon", "z_plus"])
def test_zero_by_zero_is_zero_and_counted_as_absorbed(name):
    result = apply(Rule(name, {"epsilon": 0.0}), dense([[1.0], [2.0]]), np.zeros((1, 2)), np.array([[3.0]]))
    np.testing.assert_array_equal(result[0], [[0, 0]])
    np.testing.assert_array_equal(result[2], [[3]])


@pytest.mark.parametrize("name", ["epsilon", "z_plus"])
def test_zero_by_zero_is_spread_where_the_stabilizer_is_shared(name):
    result = apply(
        Rule(name, {"epsilon": 0.0, "bias": "share"}), dense([[1.0], [2.0]]), np.zeros((1, 2)), np.array([[3.0]])
    )
    np.testing.assert_array_equal(result[0], [[1.5, 1.5]])


# x, kernel and bias as above: z = (1, -6), so c = (3 / 1, 6 / -6) = (3, -1). R = (2 (1*3 - 2*-1), -1 (3*3 + 1*-1)) =
# (10, -8); the bias absorbs 3*2 and -1*-1: 10 - 8 + 7 = 9 = 3 + 6.
def test_zero_divides_by_z_as_it_is():
    model, x = dense([[1, -2], [3, 1]], [2, -1]), np.array([[2.0, -1.0]])
    result = apply(Rule("zero"), model, x, np.array([[3.0, 6.0]]))
    np.testing.assert_array_equal(result, [[[10, -8]], [[6, 1]], [[0, 0]]])


def test_norm_has_the_stabilizer_of_sums():
    # z = 1e-6, c = 2 / (1e-6 + 1e-6) = 1e6: half goes on, half to the stabiliser.
    result = apply(Rule("norm"), dense([[1e-6]]), np.array([[1.0]]), np.array([[2.0]]))
    np.testing.assert_allclose(np.ravel(result), [1, 0, 1])


@pytest.mark.parametrize(
    ("make", "shape"),
    [
        (lambda: layers.Dense(5), (5,)),
        (lambda: layers.Dense(5), (3, 5)),  # rows are a batch while the kernel is applied
        (lambda: layers.Conv2D(2, 3, padding="same"), (4, 5, 2)),
        (lambda: layers.DepthwiseConv2D(3, padding="same"), (4, 5, 2)),
    ],
)
def test_pass_hands_relevance_on_as_it_is(make, shape):
    model = functional(lambda x: make()(x), shape)
    r = signal(2, *shape, seed=2)
    passed, by_bias, by_stabilizer = apply(Rule("pass"), model, signal(2, *shape), r)
    np.testing.assert_array_equal(passed.reshape(r.shape), r)
    assert not by_bias.any()
    assert not by_stabilizer.any()


@pytest.mark.parametrize(
    ("make", "shape"),
    [
        (lambda: layers.Dense(4), (5,)),
        (lambda: layers.Conv2D(2, 3), (4, 5, 2)),
        (lambda: layers.Conv1D(2, 3, strides=2, padding="same"), (None, 2)),
    ],
)
def test_pass_is_refused_where_the_shape_changes(make, shape):
    model = functional(lambda x: make()(x), shape)
    with pytest.raises(CompositeError, match=r"Rule 'pass' is for layers .* Received: layer '\w+' from \(None, "):
        apply(Rule("pass"), model, signal(2, *(size or 4 for size in shape)), np.ones(1))


@pytest.mark.parametrize(
    ("name", "parameters", "message"),
    [("zero", {"epsilon": 0.1}, "takes bias"), ("norm", {"epsilon": 0.1}, "takes bias"),
     ("pass", {"bias": "absorb"}, "takes no parameters")],
)  # fmt: skip
def test_what_is_fixed_can_not_be_set(name, parameters, message):
    with pytest.raises(CompositeError, match=rf"Rule '{name}' {message}\. Received: {next(iter(parameters))}\."):
        Rule(name, parameters)


@pytest.mark.parametrize("layer", ["dense", "convolution strided", "convolution in groups"])
def test_z_plus_of_a_non_negative_input_needs_one_term(layer):
    make, shape = LAYERS[layer]
    model = functional(lambda x: make()(x), shape)
    x = signal(2, *shape, sign="non_negative")
    r = signal(2, *model.output_shape[1:], seed=2)
    both = apply(Rule("z_plus"), model, x, r)
    one = apply(Rule("z_plus"), model, x, r, non_negative=True)
    for expected, actual in zip(both, one, strict=True):
        np.testing.assert_allclose(actual, expected, rtol=1e-12, atol=1e-12)


def test_z_plus_equals_epsilon_where_every_product_is_positive():
    model = dense(np.abs(signal(4, 3)), np.abs(signal(3)))
    x, r = signal(2, 4, sign="non_negative"), signal(2, 3, seed=2)
    for bias in BIAS_MODES:
        first, second = (apply(Rule(name, {"bias": bias}), model, x, r)[0] for name in ("epsilon", "z_plus"))
        np.testing.assert_allclose(first, second, rtol=1e-12)


@pytest.mark.parametrize("name", SHARING)
@pytest.mark.parametrize("bias", BIAS_MODES)
def test_what_is_not_passed_on_is_accounted_for(name, bias):
    model = functional(lambda x: layers.Conv2D(3, 3, padding="same")(x), (4, 5, 2))
    x, r = signal(2, 4, 5, 2), signal(2, 4, 5, 3, seed=2)
    passed, by_bias, by_stabilizer = apply(rule(name, epsilon=0.1, bias=bias), model, x, r)
    everything = sum(part.sum(axis=(1, 2, 3)) for part in (passed, by_bias, by_stabilizer))
    np.testing.assert_allclose(everything, r.sum(axis=(1, 2, 3)), rtol=1e-9)
    if bias == "share":
        np.testing.assert_allclose(passed.sum(axis=(1, 2, 3)), r.sum(axis=(1, 2, 3)), rtol=1e-9)
    if bias == "ignore":
        assert not by_bias.any()


def test_epsilon_of_a_linear_network_tends_to_weight_times_input():
    """(x W1) W2: R_i = x_i (W1 W2)_i for the target, whatever lies between."""
    from tests.explain.running import explain

    model = functional(
        lambda x: layers.Dense(3, use_bias=False)(layers.Dense(6, use_bias=False)(x)),
        (4,),
    )
    x = signal(2, 4)
    first, second = model.get_weights()
    result = explain(model, x, target=1, composite="epsilon", epsilon=1e-13)
    expected = x * (first @ second)[:, 1]
    assert worst(result["relevance"], expected) < 1e-9
    np.testing.assert_allclose(result["conservation_gap"], 0, atol=1e-10)


def test_rule_is_linear_in_the_relevance():
    model = functional(lambda x: layers.Dense(4)(x), (5,))
    x, r, other = signal(2, 5), signal(2, 4, seed=2), signal(2, 4, seed=3)
    for name in SHARING:
        first, second, both = (apply(rule(name), model, x, seed)[0] for seed in (r, other, 2 * r - 3 * other))
        np.testing.assert_allclose(both, 2 * first - 3 * second, rtol=1e-9, atol=1e-9)


def test_an_unknown_rule_lists_the_known_ones():
    with pytest.raises(CompositeError, match=r"Expected one of .*epsilon.*z_plus.*Received: 'gradient'"):
        Rule("gradient")


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"beta": 1.0}, r"Rule 'epsilon' takes bias, epsilon\. Received: beta\."),
        ({"bias": "drop"}, r"`bias` must be one of absorb, ignore, share\. Received: bias='drop'\."),
        ({"epsilon": -1e-6}, r"`epsilon` must.* not .*negative\. Received: epsilon=-1e-06"),
        ({"epsilon": float("nan")}, r"Received: epsilon=nan"),
        ({"epsilon": float("inf")}, r"Received: epsilon=inf"),
        ({"epsilon": "small"}, r"Received: epsilon='small'"),
    ],
)
def test_parameters_that_do_not_fit_are_refused(parameters, message):
    with pytest.raises(CompositeError, match=message):
        Rule("epsilon", parameters)


def test_a_rule_is_registered_once():
    with pytest.raises(ValueError, match="Rule 'epsilon' is registered already"):
        rules.register("epsilon")


def test_models_are_float64_and_the_policy_is_restored():
    assert functional(lambda x: layers.Dense(1)(x), (2,)).weights[0].dtype == "float64"
    assert keras.config.dtype_policy().name == "float32"
