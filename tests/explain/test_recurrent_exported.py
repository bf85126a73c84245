import keras
import numpy as np
import onnxruntime
import pytest
import tensorflow as tf
from keras import layers

from explain import build_explainer
from export.onnx import write_onnx
from export.saved_model import Signature, write_saved_model
from tests.explain.recurrent_models import FEATURES, LAYERS, UNITS, alone, expected_of
from tests.explain.running import explain, randomized, signal, worst

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


def engines_of(model, folder):
    """The explanation of a model in TensorFlow, from a SavedModel, and in ONNX Runtime."""
    explainer = build_explainer(model, composite="epsilon")
    specs = dict(sorted({**explainer.inputs, "target": tf.TensorSpec((None,), tf.int32, name="target")}.items()))

    def run(**arrays):
        target = arrays.pop("target")
        return {name: value for name, value in explainer.explain(arrays, target).items() if name != "target"}

    function = tf.function(run, autograph=False).get_concrete_function(**specs)
    outputs = {name: tf.TensorSpec(value.shape, value.dtype) for name, value in function.structured_outputs.items()}
    signature = Signature(function, specs, outputs)
    write_saved_model(folder / "saved", model, {"explain": signature}, explainer)
    loaded = tf.saved_model.load(folder / "saved")
    write_onnx(folder / "explain.onnx", signature, "explain")
    session = onnxruntime.InferenceSession(folder / "explain.onnx", providers=["CPUExecutionProvider"])

    def in_tensorflow(arrays):
        result = loaded.signatures["explain"](**{name: tf.constant(value) for name, value in arrays.items()})
        return result["relevance"].numpy()

    return in_tensorflow, lambda arrays: session.run(["relevance"], arrays)[0]


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
    engines = engines_of(single, tmp_path)
    for batch, length in [(1, 20), (7, 20)] if time else [(1, 5), (7, 16), (7, 37)]:
        values = signal(batch, length, FEATURES, seed=length).astype(np.float32)
        target = np.linspace(UNITS, length * UNITS - 1, batch).astype(np.int32)
        expected, _ = expected_of(oracle, values.astype(np.float64), target)
        found = [engine({"x0": values, "target": target}) for engine in engines]
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
    engines = engines_of(single, tmp_path)
    for batch, length in [(1, 20), (7, 9)]:
        values = signal(batch, length, FEATURES, seed=length).astype(np.float32)
        values[:, -4:] = 0
        target = (np.arange(batch) % 3).astype(np.int32)
        expected = explain(double_model, values.astype(np.float64), target=target, composite="epsilon")["relevance"]
        found = [engine({"x0": values, "target": target}) for engine in engines]
        for relevance in found:
            assert (relevance[:, -4:] == 0).all()
            assert worst(relevance, expected) < 1e-4
        # Rounding of four layers, and c / (c + epsilon) amplifies it where c is close to zero.
        assert worst(found[1], found[0]) < 3e-5
