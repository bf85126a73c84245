"""Runs the engine the way callers do, and compares it with the oracle network of the same weights."""

import contextlib

import keras
import numpy as np
import tensorflow as tf

from explain import build_explainer
from explain.conservation import accounts
from explain.constants import DerivedConstants
from explain.propagation import affine_maps
from explain.trace import input_names, trace_model
from tests.oracles.from_keras import network_of

# Rounding of sums of a few hundred products in float64, where no denominator is close to zero.
RULE_TOLERANCE = 1e-9


@contextlib.contextmanager
def double():
    """Layers that are made in here compute in float64."""
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy("float64")
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)


def functional(build, *shapes, dtype="float64"):
    """A functional model in float64; `build` takes its inputs and returns its output."""
    with double():
        inputs = [keras.Input(shape, name=f"x{index}", dtype=dtype) for index, shape in enumerate(shapes)]
        return randomized(keras.Model(inputs, build(*inputs)))


def randomized(model, seed=0):
    """Weights of both signs, biases too; variances positive."""
    generator = np.random.default_rng(seed)
    for variable in model.weights:
        values = generator.normal(size=variable.shape) / np.sqrt(np.prod(variable.shape[:-1]) or 1)
        variable.assign(generator.uniform(0.5, 2.0, variable.shape) if "variance" in variable.path else values)
    return model


def signal(*shape, sign="mixed", seed=1):
    """A generic float64 input, away from zero: epsilon-LRP jumps where a pre-activation crosses zero."""
    values = np.random.default_rng(seed).normal(size=shape)
    return {"mixed": values, "non_negative": np.abs(values), "negative": -np.abs(values)}[sign]


def call(explainer, inputs, target=-1, method="explain"):
    """One traced call, results as arrays; `inputs` by name, `target` one for all or one for each example."""
    batch = len(next(iter(inputs.values())))
    target = tf.constant(np.broadcast_to(target, [batch]), tf.int32)
    tensors = {name: tf.constant(values, tf.as_dtype(explainer.inputs[name].dtype)) for name, values in inputs.items()}
    function = tf.function(getattr(explainer, method), autograph=False).get_concrete_function(tensors, target)
    arrays = {name: value.numpy() for name, value in function(tensors, target).items()}
    return accounts(arrays, batch) if method == "audit" else arrays


def with_map(model, function, *arrays):
    """Traces a model of one input with one affine map and calls `function(map, *tensors)` there; arrays come back."""
    spec = tf.TensorSpec((None, *model.inputs[0].shape[1:]), model.inputs[0].dtype)
    derived = DerivedConstants()

    def traced(x, *tensors):
        (node,) = affine_maps(trace_model(model, {input_names(model)[0]: x}, derived)).values()
        return function(node, *tensors)

    tensors = [tf.constant(array) for array in arrays]
    specs = [spec, *(tf.TensorSpec(array.shape, array.dtype) for array in arrays[1:])]
    results = tf.function(traced, autograph=False).get_concrete_function(*specs)(*tensors)
    return [result.numpy() for result in tf.nest.flatten(results)]


def explain(model, *arrays, target=-1, **options):
    """Explains a batch; `arrays` in the order of the model's inputs."""
    explainer = build_explainer(model, **options)
    return call(explainer, dict(zip(explainer.inputs, arrays, strict=True)), target)


def relevance_of(result):
    """The relevances of all inputs, in the order of the inputs."""
    return [value for name, value in result.items() if name == "relevance" or name.startswith("relevance_")]


def worst(actual, expected):
    """Largest deviation in units of the largest relevance of each example, the worst of all."""
    expected = np.asarray(expected, np.float64)  # 1e-300 is zero in single precision
    axes = tuple(range(1, expected.ndim))
    scale = np.maximum(np.abs(expected).max(axis=axes, keepdims=True), 1e-300)
    return float((np.abs(actual - expected) / scale).max())


def moved_by_rounding(explain_batch, values, expected, probes=4):
    """How far rounding of the input to float32 moves an explanation that is computed in float64, in each example.

    No float32 program can be closer than that: the relevance of a recurrent layer is a product of a hundred quotients,
    and where one of their denominators is close to zero, the last bit of the input counts.

    Args:
        explain_batch: From an input in float64 to its relevance.
        values: The input, exact in float32.
        expected: Its relevance, examples first.
        probes: How many roundings are tried.

    Returns:
        In units of each example's largest relevance, `(batch,)`.
    """
    generator = np.random.default_rng(0)
    rounding = 4 * np.finfo(np.float32).eps
    axes = tuple(range(1, expected.ndim))
    moved = np.zeros(len(values))
    for _ in range(probes):
        changed = values * (1 + generator.uniform(-rounding, rounding, values.shape))
        moved = np.maximum(moved, np.abs(explain_batch(changed) - expected).max(axis=axes))
    return moved / np.abs(expected).max(axis=axes)


def assert_equals_oracle(model, *arrays, target=-1, tolerance=RULE_TOLERANCE, **options):
    """The model computes what its oracle computes, and so does its explanation; returns the relevances."""
    result = explain(model, *arrays, target=target, **options)
    network = network_of(model)
    names = [tensor._keras_history.operation.name for tensor in model.inputs]
    inputs = dict(zip(names, arrays, strict=True))
    scores = network.predict(inputs).reshape(len(arrays[0]), -1)
    chosen = np.where(np.asarray(target) == -1, scores.argmax(axis=1), target)
    value = np.take_along_axis(scores, chosen[:, None], 1)[:, 0]
    np.testing.assert_allclose(result["explained_value"], value, tolerance / 10)
    settings = {"composite": "epsilon"} | {k: v for k, v in options.items() if k in {"composite", "epsilon", "bias"}}
    expected = network.explain(inputs, np.broadcast_to(target, [len(arrays[0])]), **settings)
    for actual, name in zip(relevance_of(result), names, strict=True):
        assert np.isfinite(actual).all()
        assert np.abs(expected[name]).max() > 0
        assert worst(actual, expected[name]) <= tolerance, f"{worst(actual, expected[name]):.3e} of the largest"
    return relevance_of(result)
