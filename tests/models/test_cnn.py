import keras
import numpy as np
import pytest

from models.architecture import ImageTask, LayerOptions
from models.cnn import CNN, build_cnn
from models.errors import TrainingConfigError
from tests.models import oracles


def weights(model, name):
    return [np.asarray(value, np.float64) for value in model.get_layer(name).get_weights()]


def oracle(model, image, low, high, *, normalized):
    x = (image.astype(np.float64) - low) / (high - low)
    for index in (1, 2):
        kernel, *bias = weights(model, f"convolution{index}")
        x = oracles.convolution_same(x, kernel, bias[0] if bias else 0.0)
        if normalized:
            layer = model.get_layer(f"convolution{index}_normalization")
            x = oracles.batch_normalization(x, [np.asarray(w, np.float64) for w in layer.get_weights()], layer.epsilon)
        x = oracles.max_pooling_same(oracles.relu(x))
    kernel, *bias = weights(model, "dense1")
    x = oracles.dense(x.reshape(len(x), -1), kernel, bias[0] if bias else 0.0)
    if normalized:
        layer = model.get_layer("dense1_normalization")
        x = oracles.batch_normalization(x, [np.asarray(w, np.float64) for w in layer.get_weights()], layer.epsilon)
    return oracles.softmax(oracles.dense(oracles.relu(x), *weights(model, "logits")))


@pytest.mark.parametrize("image_shape", [(8, 8, 1), (7, 5, 3), (1, 1, 1)])
@pytest.mark.parametrize("normalized", [False, True])
def test_cnn_equals_its_equations_for_any_image_size(image_shape, normalized):
    generator = np.random.default_rng(0)
    task = ImageTask(image_shape, 4, (-3.0, 16.0))
    model = build_cnn(task, LayerOptions(batch_normalization=normalized), filters=(3, 5), units=6)
    model.set_weights([generator.uniform(0.1, 0.6, value.shape) for value in model.get_weights()])
    image = generator.uniform(-3, 16, (2, *image_shape)).astype(np.float32)
    expected = oracle(model, image, -3.0, 16.0, normalized=normalized)
    # float32 against float64: a few hundred products of order 1.
    np.testing.assert_allclose(model(image), expected, atol=2e-5)


def test_cnn_has_the_layers_and_parameters_of_its_description():
    model = build_cnn(ImageTask((8, 8, 1), 10, (0.0, 16.0)), LayerOptions())
    # 3*3*1*32 + 32, 3*3*32*64 + 64, 2*2*64*512 + 512, 512*10 + 10
    assert model.count_params() == 320 + 18_496 + 131_584 + 5_130
    assert model.inputs[0].name == "image"
    assert [layer.name for layer in model.layers][-3:] == ["dropout1", "logits", "probabilities"]
    assert model.get_layer("dropout1").rate == 0.5
    assert isinstance(model.get_layer("probabilities"), keras.layers.Softmax)


def test_regularization_adds_the_kernels_absolute_values_and_squares():
    model = build_cnn(ImageTask((4, 4, 1), 2), LayerOptions(l1=0.5, l2=0.25), filters=(2,), units=3)
    kernels = [weights(model, name)[0] for name in ("convolution1", "dense1", "logits")]
    expected = sum(0.5 * np.abs(kernel).sum() + 0.25 * np.square(kernel).sum() for kernel in kernels)
    assert float(sum(model.losses)) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(("initializer", "variance"), [("he_normal", 2 / 3200), ("glorot_uniform", 2 / (3200 + 512))])
def test_initializer_sets_the_variance_of_kernels(initializer, variance):
    keras.utils.set_random_seed(0)
    model = build_cnn(ImageTask((10, 10, 1), 2), LayerOptions(initializer=initializer), filters=(128,))
    # 25 * 128 inputs, 512 outputs; 1.6 million samples.
    assert weights(model, "dense1")[0].var() == pytest.approx(variance, rel=0.02)


@pytest.mark.parametrize("options", [{"filters": ()}, {"filters": (32, 0)}, {"units": 1.5}, {"kernel_size": -1}])
def test_sizes_that_are_no_whole_numbers_are_refused(options):
    with pytest.raises(TrainingConfigError, match=r"must be one or more whole numbers >= 1. Received"):
        build_cnn(ImageTask((8, 8, 1), 10), LayerOptions(), **options)


def test_unknown_options_are_refused_with_the_known_ones():
    with pytest.raises(
        TrainingConfigError, match=r"'cnn' has no option 'depth'\. Known, with defaults: filters=\(32, 64\), units=512"
    ):
        CNN.check_options({"depth": 3})
