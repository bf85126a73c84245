from functools import partial

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

from explain import build_explainer
from explain.recurrent import cells
from explain.recurrent.scan import product
from tests.explain.exporting import engines_of
from tests.explain.recurrent_models import FEATURES, LAYERS, UNITS, alone, expected_of
from tests.explain.running import call, moved_by_rounding, randomized, signal, worst

EXPORTED = {
    "lstm": (LAYERS["lstm"], None),
    "lstm, static": (LAYERS["lstm"], 20),
    "gru": (LAYERS["gru"], None),
    "gru, reset before": (LAYERS["gru, reset before"], None),
    "simple rnn": (LAYERS["simple rnn"], None),
    "dropout": (lambda **options: layers.LSTM(UNITS, dropout=0.3, recurrent_dropout=0.2, **options), None),
    "backwards": (lambda **options: layers.LSTM(UNITS, go_backwards=True, **options), None),
    "backwards, static": (lambda **options: layers.GRU(UNITS, go_backwards=True, **options), 20),
}


MARGIN = 4  # a few probes don't find the largest change there is: `export.conditioning` takes as much


def relevance_of(explainer, values, target):
    return call(explainer, {"x0": values}, target)["relevance"]


def long_sequences():
    """Two LSTMs over 100 steps with random weights, in double and in single precision, and input for them."""

    def build(dtype):
        x = keras.Input((None, FEATURES), name="x0", dtype=dtype)
        h = layers.LSTM(16, return_sequences=True, dtype=dtype)(x)
        return keras.Model(x, layers.Dense(3, dtype=dtype)(layers.LSTM(16, dtype=dtype)(h)))

    double_model, single = randomized(build("float64")), build("float32")
    single.set_weights([np.asarray(weight, np.float32) for weight in double_model.get_weights()])
    double_model.set_weights([np.asarray(weight, np.float64) for weight in single.get_weights()])
    return double_model, single, signal(8, 100, FEATURES).astype(np.float32)


def explained(model, values):
    return relevance_of(build_explainer(model, composite="epsilon"), values, 1)


def apart(found, expected):
    """In units of each example's largest relevance, `(batch,)`."""
    return np.abs(found - expected).max(axis=(1, 2)) / np.abs(expected).max(axis=(1, 2))


@pytest.mark.slow
def test_long_sequences_in_single_precision_differ_by_no_more_than_rounding_moves_them():
    """Epsilon-LRP is ill-conditioned in some examples."""
    double_model, single, values = long_sequences()
    reference = partial(relevance_of, build_explainer(double_model, composite="epsilon"), target=1)
    expected = reference(values.astype(np.float64))
    moved = moved_by_rounding(reference, values.astype(np.float64), expected)
    off = apart(explained(single, values), expected)
    assert (off < np.maximum(1e-5, MARGIN * moved)).all()
    assert np.median(off) < 1e-5


@pytest.mark.slow
def test_what_single_precision_loses_it_loses_in_the_sums_of_pre_activations(monkeypatch):
    """In double precision but for those sums, relevance is as far off as in single precision altogether.

    Their terms cancel, and the denominators that they are then hold what rounding left; states that are rounded once
    do no such harm. So no other form of the recursion helps, and two programs that sum in another order differ by that.
    """
    double_model, single, values = long_sequences()
    doubled = values.astype(np.float64)
    expected = explained(double_model, doubled)
    in_single = np.median(apart(explained(single, values), expected))

    def summed_in_single(x, kernel, **options):
        return tf.cast(product(tf.cast(x, tf.float32), tf.cast(kernel, tf.float32), **options), x.dtype)

    def rounded(x, kernel, **options):
        return tf.cast(tf.cast(product(x, kernel, **options), tf.float32), x.dtype)

    monkeypatch.setattr(cells, "product", summed_in_single)
    summed = np.median(apart(explained(double_model, doubled), expected))
    monkeypatch.setattr(cells, "product", rounded)
    assert in_single / MARGIN < summed < MARGIN * in_single
    assert np.median(apart(explained(double_model, doubled), expected)) < in_single / MARGIN


@pytest.mark.slow
@pytest.mark.filterwarnings(
    "ignore:__array__ implementation doesn't accept a copy keyword:DeprecationWarning:keras.src.backend.tensorflow.core"
)
@pytest.mark.parametrize("name", EXPORTED)
def test_exported_relevance_equals_the_oracle_in_every_engine(name, tmp_path):
    make, time = EXPORTED[name]
    double_model, oracle = alone(make, time=time, return_sequences=True)
    x = keras.Input((time, FEATURES), name="x0")
    single = keras.Model(x, make(return_sequences=True)(x))
    for variable, weight in zip(single.weights, double_model.weights, strict=True):
        variable.assign(np.asarray(weight, np.float32))
    engines = engines_of(single, tmp_path, composite="epsilon")
    for batch, length in [(1, 20), (7, 20)] if time else [(1, 5), (7, 16), (7, 37)]:
        values = signal(batch, length, FEATURES, seed=length).astype(np.float32)
        target = np.linspace(UNITS, length * UNITS - 1, batch).astype(np.int32)
        expected, _ = expected_of(oracle, values.astype(np.float64), target)
        found = [engine({"x0": values, "target": target})["relevance"] for engine in engines]
        for relevance in found:
            assert worst(relevance, expected) < 1e-4
        assert worst(found[1], found[0]) < 1e-5


@pytest.mark.slow
@pytest.mark.filterwarnings(
    "ignore:__array__ implementation doesn't accept a copy keyword:DeprecationWarning:keras.src.backend.tensorflow.core"
)
def test_exported_masked_bidirectional_model_equals_double_precision(tmp_path):
    def build(dtype):
        x = keras.Input((None, FEATURES), name="x0", dtype=dtype)
        h = layers.Masking(0.0, dtype=dtype)(x)
        h = layers.Bidirectional(layers.LSTM(UNITS, return_sequences=True, dtype=dtype), dtype=dtype)(h)
        h = layers.Bidirectional(layers.GRU(UNITS, dropout=0.3, dtype=dtype), merge_mode="sum", dtype=dtype)(h)
        return keras.Model(x, layers.Dense(3, dtype=dtype)(h))

    double_model, single = randomized(build("float64")), build("float32")
    single.set_weights([np.asarray(weight, np.float32) for weight in double_model.get_weights()])
    double_model.set_weights([np.asarray(weight, np.float64) for weight in single.get_weights()])
    engines = engines_of(single, tmp_path, composite="epsilon")
    explainer = build_explainer(double_model, composite="epsilon")
    for batch, length in [(1, 20), (7, 9)]:
        values = signal(batch, length, FEATURES, seed=length).astype(np.float32)
        values[:, -4:] = 0
        target = (np.arange(batch) % 3).astype(np.int32)
        expected = relevance_of(explainer, values.astype(np.float64), target)
        found = [engine({"x0": values, "target": target})["relevance"] for engine in engines]
        for relevance in found:
            assert (relevance[:, -4:] == 0).all()
            assert worst(relevance, expected) < 1e-4
        # In the first example the LSTM and GRU of ONNX Runtime are 1.2e-5 from float64, TensorFlow 1.3e-6; else both
        # are within 1e-6.
        assert worst(found[0], expected) < 5e-6
        assert worst(found[1], found[0]) < (2e-5 if batch == 1 else 1e-5)
