import keras
import numpy as np

from export.precision import in_float32, in_float64, reduced_dtypes
from tests.export import models


def test_double_precision_has_the_same_weights_and_smaller_errors() -> None:
    keras.utils.set_random_seed(1)
    model = models.image_model()
    double = in_float64(model)
    assert {str(variable.dtype) for variable in double.trainable_variables} == {"float64"}
    assert double.inputs[0].dtype == "float64"
    for single_weight, double_weight in zip(model.get_weights(), double.get_weights(), strict=True):
        np.testing.assert_array_equal(single_weight, double_weight)
    x = np.random.default_rng(0).integers(0, 17, (4, 8, 8, 1)).astype(np.float32)
    np.testing.assert_allclose(double(x.astype(np.float64)), model(x), rtol=0, atol=1e-6)


def test_integer_inputs_stay_integers() -> None:
    assert in_float64(models.tokens_model()).inputs[0].dtype == "int32"


def test_half_precision_is_found_and_raised() -> None:
    model = models.half_precision_model()
    assert reduced_dtypes(model) == ["float16"]
    assert reduced_dtypes(in_float32(model)) == []
    assert reduced_dtypes(models.image_model()) == []


def test_a_rebuilt_model_keeps_what_its_normalisation_learnt():
    values = np.random.default_rng(0).normal(5, 3, (100, 4)).astype("float32")
    normalization = keras.layers.Normalization(dtype="float32")
    normalization.adapt(values)
    head = keras.layers.Dense(3, dtype="mixed_float16")
    model = keras.Sequential([keras.Input((4,)), normalization, head])
    expected = model(values).numpy()
    np.testing.assert_allclose(in_float32(model)(values).numpy(), expected, atol=1e-2)
    np.testing.assert_allclose(in_float64(in_float32(model))(values).numpy(), expected, atol=1e-2)
