from collections.abc import Callable
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

from export.errors import SamplesError
from export.interface import model_interface
from export.samples import Samples, generated_samples, read_samples
from tests.export import models

SPECS = {"x": tf.TensorSpec((None, 3), tf.float32), "n": tf.TensorSpec((None,), tf.int32)}
MODEL = models.two_inputs_two_outputs()  # not called: no size of SPECS is open


def generated(model: keras.Model) -> dict[str, dict[str, np.ndarray]]:
    samples = generated_samples(model, model_interface(model).inputs)
    return {batch.kind: batch.inputs for batch in samples.batches}


def test_generated_floats_have_several_scales_and_an_image_like_one() -> None:
    values = {kind: inputs["image"] for kind, inputs in generated(models.image_model()).items()}
    assert all(array.shape == (4, 8, 8, 1) for array in values.values())
    assert all(array.dtype == np.float32 for array in values.values())
    assert np.std(values["normal 0.1"]) == pytest.approx(0.1, rel=0.1)
    assert np.std(values["normal 10"]) == pytest.approx(10, rel=0.1)
    pixels = values["pixels 0 to 255"]
    assert pixels.min() >= 0
    assert 200 < pixels.max() <= 255
    np.testing.assert_array_equal(pixels, np.round(pixels))


def test_generated_values_are_the_same_each_time() -> None:
    once, again = generated(models.image_model()), generated(models.image_model())
    for kind in once:
        np.testing.assert_array_equal(once[kind]["image"], again[kind]["image"])


def test_generated_tokens_stay_in_the_vocabulary_and_bytes_use_their_range() -> None:
    tokens = generated(models.tokens_model())["generated integers"]["tokens"]
    assert tokens.dtype == np.int32
    assert (tokens.min(), tokens.max()) == (0, 6)  # the embedding knows 7
    pixels = generated(models.bytes_model())["generated integers"]["pixels"]
    assert pixels.dtype == np.uint8
    assert pixels.max() > 200


def shapes(samples: Samples) -> set[tuple[int, ...]]:
    return {array.shape[1:] for batch in samples.batches for array in batch.inputs.values()}


def halving_model() -> keras.Model:
    """As a U-Net: what comes out of halving and doubling an odd size can't be added to it."""
    x = keras.Input((None, None, 3), name="x")
    half = keras.layers.Conv2D(3, 3, strides=2, padding="same")(x)
    return keras.Model(x, keras.layers.Add()([x, keras.layers.UpSampling2D()(half)]))


def fixed_by_its_reshape() -> keras.Model:
    """Leaves its length open, and takes 12 only."""
    return keras.Sequential([keras.Input((None, 2), name="x"), keras.layers.Reshape((24,))])


def test_open_dimensions_have_two_sizes_and_one_is_odd() -> None:
    for model, expected in (
        (models.tokens_model(), {(12,), (13,)}),
        (models.recurrent_model(), {(12, 3), (13, 3)}),
        (halving_model(), {(32, 32, 3), (64, 64, 3)}),
    ):
        samples = generated_samples(model, model_interface(model).inputs)
        assert shapes(samples) == expected
        assert samples.origin == "generated"


def test_one_size_is_told_where_the_model_takes_no_other(tmp_path: Path) -> None:
    model = fixed_by_its_reshape()
    specs = model_interface(model).inputs
    generated = generated_samples(model, specs)
    np.savez(tmp_path / "s.npz", x=np.ones((3, 12, 2)))
    real = read_samples(tmp_path / "s.npz", model, specs)
    assert [generated.origin, real.origin] == ["generated (of one size)", "s.npz (of one size)"]
    assert shapes(generated) == shapes(real) == {(12, 2)}


def test_samples_of_an_open_size_are_cut_for_a_second_one(tmp_path: Path) -> None:
    x = np.arange(2 * 8 * 8 * 3).reshape(2, 8, 8, 3)
    np.savez(tmp_path / "s.npz", x=x)
    pool = keras.Sequential([keras.Input((None, None, 3), name="x"), keras.layers.GlobalAveragePooling2D()])
    for model, kept in ((pool, 7), (halving_model(), 4)):
        real, cut = read_samples(tmp_path / "s.npz", model, model_interface(model).inputs).batches
        np.testing.assert_array_equal(real.inputs["x"], x)
        np.testing.assert_array_equal(cut.inputs["x"], x[:, :kept, :kept])


def test_samples_are_not_cut_down_to_padding(tmp_path: Path) -> None:
    """Keras' mean over nothing is NaN."""
    tokens = keras.Input((None,), dtype="int32", name="x")
    embedded = keras.layers.Embedding(5, 2, mask_zero=True)(tokens)
    model = keras.Model(tokens, keras.layers.GlobalAveragePooling1D()(embedded))
    np.savez(tmp_path / "s.npz", x=[[0, 0, 0, 4], [1, 2, 3, 4]])
    samples = read_samples(tmp_path / "s.npz", model, model_interface(model).inputs)
    assert shapes(samples) == {(4,)}


def test_big_inputs_make_small_batches() -> None:
    model = keras.Sequential([keras.Input((512, 512, 3)), keras.layers.GlobalAveragePooling2D()])  # 3 MiB an example
    assert {len(next(iter(inputs.values()))) for inputs in generated(model).values()} == {2}


def test_samples_are_read_cast_and_cut(tmp_path: Path) -> None:
    np.savez(tmp_path / "s.npz", x=np.ones((20, 3)), n=np.arange(20), labels=np.zeros(20))
    samples = read_samples(tmp_path / "s.npz", MODEL, SPECS)
    assert samples.origin == "s.npz"
    inputs = samples.batches[0].inputs
    assert {name: (array.dtype, array.shape) for name, array in inputs.items()} == {
        "x": (np.float32, (8, 3)),
        "n": (np.int32, (8,)),
    }


def save(**arrays: np.ndarray) -> Callable[[Path], object]:
    return lambda path: np.savez(path, **arrays)


@pytest.mark.parametrize(
    ("write", "message"),
    [
        (save(x=np.ones((2, 3))), r"one array for each input of the model: \['n', 'x'\]. Received: \['x'\]"),
        (
            save(x=np.ones((2, 4)), n=np.ones(2, int)),
            r"'x' must have the input's shape \(None, 3\). Received: shape=\(2, 4\)",
        ),
        (save(x=np.ones((2, 3)), n=np.ones(2)), "'n' must be castable to int32. Received: dtype=float64"),
        (save(x=np.ones((2, 3)), n=np.ones(3, int)), "as many examples for every input"),
        (save(x=np.ones((0, 3)), n=np.ones(0, int)), "one at least"),
        (save(x=np.array([{}]), n=np.ones(1, int)), "must be an `.npz` file of arrays"),
        (lambda path: path.write_bytes(b"PK\x03\x04"), "must be an `.npz` file of arrays"),
        (lambda path: path.write_bytes(b""), "must be an `.npz` file of arrays"),
        (lambda path: None, "must be an `.npz` file of arrays"),
    ],
)
def test_samples_that_do_not_fit_are_refused(write: Callable[[Path], object], message: str, tmp_path: Path) -> None:
    write(tmp_path / "s.npz")
    with pytest.raises(SamplesError, match=message):
        read_samples(tmp_path / "s.npz", MODEL, SPECS)
