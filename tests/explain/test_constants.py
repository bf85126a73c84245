# ruff: noqa: PLW0108 - layers are made inside the lambda, while the policy is float64
import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers, ops

from explain import build_explainer
from explain.constants import DerivedConstants, GraphConstants, run_operation
from explain.errors import ExplainError
from tests.explain.running import explain, functional, signal, worst

WEIGHT = np.arange(1.0, 7.0).reshape(2, 3)
# Functions of a variable, and the same in NumPy; each meets operations whose arguments have other names in Python.
COMPUTED = {
    "itself": (lambda w: tf.identity(w), lambda w: w),
    "expanded": (lambda w: tf.expand_dims(w, 0), lambda w: w[None]),
    "squeezed, one axis of two": (lambda w: tf.squeeze(tf.reshape(w, (1, 6, 1)), 0), lambda w: w.reshape(6, 1)),
    "summed": (lambda w: tf.reduce_sum(w, axis=1), lambda w: w.sum(axis=1)),
    "mean, axis kept": (lambda w: tf.reduce_mean(w, axis=0, keepdims=True), lambda w: w.mean(axis=0, keepdims=True)),
    "largest": (lambda w: tf.reduce_max(w), lambda w: w.max()),
    "joined": (lambda w: tf.concat([w, 2.0 * w], axis=0), lambda w: np.concatenate([w, 2 * w])),
    "stacked": (lambda w: tf.stack([w, -w]), lambda w: np.stack([w, -w])),
    "split": (lambda w: tf.split(w, 3, axis=1)[2], lambda w: w[:, 2:]),
    "unstacked": (lambda w: tf.unstack(w, axis=1)[1], lambda w: w[:, 1]),
    "sliced": (lambda w: w[:, ::2], lambda w: w[:, ::2]),
    "product": (lambda w: tf.matmul(w, w, transpose_b=True), lambda w: w @ w.T),
    "normalised": (lambda w: w * tf.math.rsqrt(tf.reduce_sum(w * w) + 1.0), lambda w: w / np.sqrt((w * w).sum() + 1)),
    "cast": (lambda w: tf.cast(w, tf.int32), lambda w: w.astype(int)),
}


@pytest.mark.parametrize("case", COMPUTED)
def test_what_no_input_reaches_is_evaluated(case):
    compute, computed = COMPUTED[case]
    variable = tf.Variable(WEIGHT)
    found = []

    def traced(x):
        tensor = compute(variable)
        found.append(GraphConstants(tf.compat.v1.get_default_graph()).value(tensor))
        return x

    tf.function(traced, autograph=False).get_concrete_function(tf.TensorSpec((), tf.float64))
    np.testing.assert_allclose(found[0], computed(WEIGHT), rtol=1e-15)


def test_what_an_input_reaches_is_refused():
    def traced(x):
        GraphConstants(tf.compat.v1.get_default_graph()).value(x + 1.0)

    with pytest.raises(ExplainError, match=r"to be a constant or a variable of the model. Received an input"):
        tf.function(traced, autograph=False).get_concrete_function(tf.TensorSpec((), tf.float64))


def test_an_operation_runs_again_with_its_attributes():
    def traced(x):
        op = tf.nn.max_pool2d(x, 2, 2, "SAME").op
        (again,) = run_operation(op, [2.0 * x])
        return op.outputs[0], again

    once, twice = tf.function(traced, autograph=False)(tf.constant(signal(1, 3, 3, 1)))
    np.testing.assert_array_equal(2 * once, twice)


def test_a_derived_constant_is_made_once_and_tracked():
    derived = DerivedConstants()
    made = []

    def make():
        made.append(1)
        return np.array([1.5, 2.5])

    first = tf.function(lambda: derived.tensor("layer/positive", make, tf.float32), autograph=False)()
    second = tf.function(lambda: 2 * derived.tensor("layer/positive", make, tf.float32), autograph=False)()
    np.testing.assert_array_equal(2 * first, second)
    assert len(made) == 1
    assert [variable.shape.as_list() for variable in derived.variables] == [[2]]
    assert not derived.trainable_variables


def test_functions_of_one_explainer_share_their_constants():
    model = functional(
        lambda x: layers.Dense(2)(layers.Flatten()(layers.Conv2D(3, 3, padding="same")(x))), (5, 5, 2), dtype="float64"
    )
    explainer = build_explainer(model, composite="epsilon_plus")
    specs = {**explainer.inputs}, tf.TensorSpec((None,), tf.int32)
    tf.function(explainer.explain, autograph=False).get_concrete_function(*specs)
    before = [variable.shape.as_list() for variable in explainer.module.variables]
    for method in (explainer.explain, explainer.audit):
        tf.function(method, autograph=False).get_concrete_function(*specs)
    assert [variable.shape.as_list() for variable in explainer.module.variables] == before


def test_every_variable_that_a_traced_function_reads_is_tracked():
    """What isn't tracked is not saved with the bundle."""
    model = functional(lambda x: layers.Dense(2)(layers.Flatten()(layers.Conv2D(3, 3, strides=2)(x))), (5, 5, 2))
    explainer = build_explainer(model, composite="epsilon_plus")
    function = tf.function(explainer.explain, autograph=False)
    concrete = function.get_concrete_function({**explainer.inputs}, tf.TensorSpec((None,), tf.int32))
    own = [variable.value for variable in explainer.module.model.variables]
    tracked = {id(variable) for variable in (*own, *explainer.module.constants.variables)}
    assert len(concrete.variables) > 4  # more than the model's own
    assert all(id(variable) in tracked for variable in concrete.variables)


class WeightNormalized(keras.layers.Layer):
    """g v / |v| (Salimans and Kingma 2016): a kernel that is computed from variables."""

    def build(self, shape):
        self.v = self.add_weight(shape=(shape[-1], 3), name="v")
        self.g = self.add_weight(shape=(3,), name="g")

    def call(self, x):
        return ops.matmul(x, self.g * self.v * ops.rsqrt(ops.sum(ops.square(self.v), axis=0)))


def test_a_kernel_that_is_computed_from_weights_is_a_constant():
    model = functional(lambda x: layers.Dense(2)(WeightNormalized()(x)), (4,))
    v, g, head, bias = model.get_weights()
    plain = functional(lambda x: layers.Dense(2)(layers.Dense(3, use_bias=False)(x)), (4,))
    plain.set_weights([g * v / np.linalg.norm(v, axis=0), head, bias])
    x = signal(2, 4)
    actual, expected = (explain(m, x, composite="epsilon_plus")["relevance"] for m in (model, plain))
    assert worst(actual, expected) < 1e-9
