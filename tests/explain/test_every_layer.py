import keras
import numpy as np
import pytest
from keras import layers

from explain import UnsupportedOperationError, build_explainer
from export.errors import ConversionError
from tests.explain.every_layer import (
    EXPLAINED,
    NOT_IN_ONNX,
    NOT_SERVED,
    REFUSED,
    TOKEN,
    TOKENS,
    TRAINING_ONLY,
    VARIANTS,
)
from tests.explain.exporting import check_engines, engines_of
from tests.explain.running import call, double, randomized

GROUPS = 5


def input_and_values(name, shape):
    if shape in {TOKENS, TOKEN}:
        values = np.array([[1, 2, 3], [3, 2, 2]] if shape == TOKENS else [[1], [3]], np.int32)
        return keras.Input(values.shape[1:], dtype="int32", name=name), values
    x = keras.Input(shape, name=name, dtype=keras.config.dtype_policy().variable_dtype)
    return x, np.random.default_rng(0).normal(size=(2, *shape)).astype(np.float32)


def score(make, x):
    """A score from what the layer returns."""
    y = make()(x)
    y = y if y.dtype.startswith("float") else keras.ops.cast(y, keras.config.dtype_policy().compute_dtype)
    return layers.Dense(1, use_bias=False)(keras.ops.reshape(y, (-1, int(np.prod(y.shape[1:])))))


def test_every_layer_of_keras_is_placed():
    classes = {cls.__name__ for cls in vars(layers).values() if isinstance(cls, type) and issubclass(cls, layers.Layer)}
    placed = [*EXPLAINED, *NOT_IN_ONNX, *REFUSED, *TRAINING_ONLY, *NOT_SERVED]
    assert len(placed) == len(set(placed))
    assert set(placed) == classes


def model_of(chosen):
    """Several layers in one model, each on an input of its own; and the inputs' values."""
    pairs = {name: input_and_values(name, shape) for name, (_, shape) in chosen.items()}
    scores = [score(make, pairs[name][0]) for name, (make, _) in chosen.items()]
    total = layers.Add()(scores) if len(scores) > 1 else scores[0]
    return keras.Model([x for x, _ in pairs.values()], total), {name: values for name, (_, values) in pairs.items()}


@pytest.mark.slow
@pytest.mark.parametrize("group", range(GROUPS))
def test_the_engines_explain_layers_as_float64_does(group, tmp_path):
    """Each layer gets relevance, and the same."""
    chosen = dict(list((EXPLAINED | VARIANTS).items())[group::GROUPS])
    with double():
        reference, arrays = model_of(chosen)
    randomized(reference).set_weights([np.float64(np.float32(value)) for value in reference.get_weights()])
    model, _ = model_of(chosen)
    model.set_weights(reference.get_weights())
    check_engines(reference, model, arrays, tmp_path, least=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("name", NOT_IN_ONNX)
def test_layers_that_onnx_lacks_are_explained_and_refused_by_name_at_export(name, tmp_path):
    make, shape, message = NOT_IN_ONNX[name]
    model, values = model_of({"x": (make, shape)})
    relevance = call(build_explainer(model, composite="epsilon"), values)["relevance"]
    assert np.abs(relevance).max() > 1e-6
    with pytest.raises(ConversionError, match=message):
        engines_of(model, tmp_path, composite="epsilon")


@pytest.mark.parametrize("name", REFUSED)
def test_layers_without_a_rule_are_refused_by_name(name):
    make, shape, message = REFUSED[name]
    x, _ = input_and_values("x", shape)
    with pytest.raises(UnsupportedOperationError, match=message):
        build_explainer(keras.Model(x, score(make, x)), composite="epsilon")


def test_augmentation_changes_nothing_in_prediction():
    x, values = input_and_values("x", (8, 8, 3))
    y = x
    for name in sorted(TRAINING_ONLY - {"RandomCrop"}):
        y = made(name)(y)
    model = keras.Model(x, layers.Flatten()(y))
    result = call(build_explainer(model, composite="epsilon"), {"x": values}, target=5)
    expected = values.reshape(2, -1) * (np.arange(192) == 5)
    np.testing.assert_allclose(result["relevance"].reshape(2, -1), expected, rtol=1e-5)


def made(name):
    options = {"RandomTranslation": (0.2, 0.2), "RandomPosterization": (4,)}.get(name, (0.2,))
    plain = {"AugMix", "CutMix", "MixUp", "RandAugment", "RandomFlip"}
    return getattr(layers, name)(*([] if name in plain else options))


def test_a_layer_for_each_step_of_a_sequence_of_any_length_is_explained():
    """Keras loops over the steps of such a sequence; all at once they are the same."""
    x = keras.Input((None, 5, 5, 2), name="x", dtype="float64")
    fixed = keras.Input((3, 5, 5, 2), name="x", dtype="float64")
    wrapped = layers.TimeDistributed(layers.Conv2D(2, 3, dtype="float64"), dtype="float64")
    head = layers.Dense(2, dtype="float64")
    models = [keras.Model(i, head(keras.ops.mean(wrapped(i), axis=(1, 2, 3)))) for i in (fixed, x)]
    values = np.random.default_rng(0).normal(size=(2, 3, 5, 5, 2))
    expected, found = (call(build_explainer(model, composite="epsilon"), {"x": values}) for model in models)
    np.testing.assert_allclose(found["relevance"], expected["relevance"], rtol=1e-12)
    np.testing.assert_allclose(found["explained_value"], np.asarray(models[1](values)).max(axis=1), rtol=1e-9)
