"""Recursions as ONNX operators, in ONNX Runtime, against loops in NumPy float64; layers against Keras."""

import keras
import numpy as np
import onnx
import onnxruntime
import pytest
import tensorflow as tf
from keras import layers

from explain.recurrent import scan
from export.interface import model_interface
from export.onnx import write_onnx
from export.saved_model import Signature, trace_signatures
from tests.explain.running import randomized, signal

UNITS = 5
SUMMING = 2e-6  # float32: a few dozen steps of sums of a few numbers of about 1


def converted(path, function, **shapes):
    """A function of float32 tensors in ONNX Runtime; sizes named None are dynamic. Its graph, and how to call it."""
    specs = {name: tf.TensorSpec(shape, tf.float32, name=name) for name, shape in sorted(shapes.items())}

    def named(**tensors):
        return {"result": function(**tensors)}

    concrete = tf.function(named, autograph=False).get_concrete_function(**specs)
    outputs = {"result": tf.TensorSpec(concrete.outputs[0].shape, tf.float32)}
    write_onnx(path, Signature(concrete, specs, outputs), "graph")
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    names = {value.name for value in session.get_inputs()}
    return operations(path), lambda arrays: session.run(
        None, {name: array.astype(np.float32) for name, array in arrays.items() if name in names}
    )[0]


def operations(path):
    return {node.op_type for node in onnx.load(path).graph.node}


def recursion(arrays, *, yields_written):
    """The equation of `linear_recursion`, step by step."""
    at = {name: values.astype(np.float64) for name, values in arrays.items()}
    s, found = at["start"], []
    for t in reversed(range(len(at["read"]))):
        s = s + at["arrived"][t] if "arrived" in at else s
        written = at["write"][t] * s
        found.append(written if yields_written else s)
        back = at["read"][t] * (written @ at["kernel"].T + (at["joined"][t] if "joined" in at else 0))
        back = back + at["keep"][t] * s if "keep" in at else back
        s = back + (at["spill"][t] * s).sum(axis=-1, keepdims=True) if "spill" in at else back
    return np.stack(found[::-1])


@pytest.mark.parametrize("yields_written", [False, True])
@pytest.mark.parametrize("optional", [(), ("keep",), ("joined",), ("arrived",), ("keep", "spill", "joined", "arrived")])
def test_linear_recursion_is_a_scan_that_equals_its_equation(tmp_path, optional, yields_written):
    sequence = (None, None, UNITS)
    shapes = dict.fromkeys(("read", "write", *optional), sequence) | {"start": (None, UNITS), "kernel": (UNITS, UNITS)}
    kinds, run = converted(
        tmp_path / "recursion.onnx",
        lambda **tensors: scan.linear_recursion(
            tensors.pop("start"), tensors.pop("kernel"), yields_written=yields_written, **tensors
        ),
        **shapes,
    )
    assert "Scan" in kinds
    assert "Loop" not in kinds
    for time, batch in ((1, 1), (23, 3)):
        sizes = {sequence: (time, batch, UNITS), (None, UNITS): (batch, UNITS)}
        arrays = {
            name: 0.5 * signal(*sizes.get(shape, shape), seed=position)
            for position, (name, shape) in enumerate(shapes.items())
        }
        expected = recursion(arrays, yields_written=yields_written)
        assert np.abs(run(arrays) - expected).max() <= SUMMING * max(np.abs(expected).max(), 1)


@pytest.mark.parametrize("static", [None, 37])
def test_weighted_sums_equal_their_equation_at_any_length(tmp_path, static):
    kinds, run = converted(
        tmp_path / "sums.onnx",
        scan.weighted_sums,
        factors=(static, None, UNITS),
        terms=(static, None, UNITS),
        start=(None, UNITS),
    )
    assert "Loop" not in kinds
    for time in [static] if static else [1, 9, 10, 11, 64]:
        factors, terms = 1 / (1 + np.exp(-signal(time, 3, UNITS))), signal(time, 3, UNITS, seed=2)
        c = start = signal(3, UNITS, seed=3)
        expected = np.stack([c := factor * c + term for factor, term in zip(factors, terms, strict=True)])
        found = run({"factors": factors, "terms": terms, "start": start})
        assert np.abs(found - expected).max() <= SUMMING * np.abs(expected).max()


@pytest.mark.parametrize("transposed", [False, True])
def test_product_of_all_steps_is_one_node(tmp_path, transposed):
    kinds, run = converted(
        tmp_path / "product.onnx",
        lambda x, kernel: scan.product(x, kernel, transposed=transposed),
        x=(None, None, 3),
        kernel=(UNITS, 3) if transposed else (3, UNITS),
    )
    assert kinds <= {"MatMul", "Transpose"}
    x, kernel = signal(7, 2, 3), signal(3, UNITS, seed=2)
    found = run({"x": x, "kernel": kernel.T if transposed else kernel})
    assert np.abs(found - x @ kernel).max() <= SUMMING * np.abs(x @ kernel).max()


LAYERS = {
    "gru": (layers.GRU, {}, "GRU"),
    "gru, reset before": (layers.GRU, {"reset_after": False}, "GRU"),
    "gru, no bias": (layers.GRU, {"use_bias": False}, "GRU"),
    "gru, reset before, no bias": (layers.GRU, {"reset_after": False, "use_bias": False}, "GRU"),
    "gru, relu": (layers.GRU, {"activation": "relu"}, "GRU"),
    "gru, backwards": (layers.GRU, {"go_backwards": True}, "GRU"),
    "simple rnn": (layers.SimpleRNN, {}, "Scan"),
    "simple rnn, backwards": (layers.SimpleRNN, {"go_backwards": True}, "Scan"),
    "simple rnn, relu, no bias": (layers.SimpleRNN, {"activation": "relu", "use_bias": False}, "Scan"),
}


def predicting(path, model):
    """The prediction of a model in ONNX Runtime, and the operations of its graph."""
    write_onnx(path, trace_signatures(model_interface(model), None)["serving_default"], "graph")
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return operations(path), lambda *arrays: session.run(
        None, {value.name: array for value, array in zip(session.get_inputs(), arrays, strict=True)}
    )


@pytest.mark.parametrize("whole", [False, True])
@pytest.mark.parametrize("name", LAYERS)
def test_recurrent_layer_is_an_operator_that_equals_keras(tmp_path, name, whole):
    make, options, operator = LAYERS[name]
    x, state = keras.Input((None, 4), name="a"), keras.Input((UNITS,), name="b")
    outputs = make(UNITS, return_sequences=whole, return_state=True, name="c", **options)(x, initial_state=state)
    model = randomized(keras.Model([x, state], outputs))
    kinds, run = predicting(tmp_path / "layer.onnx", model)
    assert operator in kinds
    assert "Loop" not in kinds
    for batch, time in ((1, 1), (7, 13)):
        arrays = signal(batch, time, 4).astype(np.float32), signal(batch, UNITS, seed=2).astype(np.float32)
        for found, expected in zip(run(*arrays), model(arrays), strict=True):
            assert np.abs(found - np.asarray(expected)).max() <= 1e-5 * np.abs(expected).max()


@pytest.mark.parametrize(
    "layer",
    [layers.GRU(UNITS, activation="gelu"), layers.RNN(layers.SimpleRNNCell(UNITS, activation="elu"))],
    ids=["gru", "simple rnn"],
)
def test_layer_with_an_activation_that_onnx_has_no_name_for_stays_a_loop(tmp_path, layer):
    x = keras.Input((None, 4))
    model = randomized(keras.Model(x, layer(x)))
    kinds, run = predicting(tmp_path / "layer.onnx", model)
    assert "Loop" in kinds
    values = signal(3, 6, 4).astype(np.float32)
    expected = np.asarray(model(values))
    assert np.abs(run(values)[0] - expected).max() <= 1e-5 * np.abs(expected).max()


def test_masked_layer_stays_a_loop_that_leaves_out_steps(tmp_path):
    x = keras.Input((None, 4))
    model = randomized(keras.Model(x, layers.GRU(UNITS)(layers.Masking(0.0)(x))))
    kinds, run = predicting(tmp_path / "layer.onnx", model)
    assert not {"GRU", "Scan"} & kinds
    values = signal(3, 6, 4).astype(np.float32)
    values[:, 2:4] = 0
    expected = np.asarray(model(values))
    assert np.abs(run(values)[0] - expected).max() <= 1e-5 * np.abs(expected).max()
    assert np.abs(run(np.delete(values, (2, 3), axis=1))[0] - expected).max() <= 1e-5 * np.abs(expected).max()
