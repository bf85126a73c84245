import keras
import numpy as np
import pytest

from whyserve.coverage.catalogue import APPLICATIONS
from whyserve.coverage.subjects import application, application_names, smallest_size, subject


def test_the_catalogue_holds_every_application_of_this_keras_once():
    assert sorted(APPLICATIONS) == sorted(application_names())


@pytest.mark.parametrize("name", APPLICATIONS)
def test_a_constructor_refuses_what_is_smaller_than_the_size_it_names(name):
    build = getattr(keras.applications, name)
    size = smallest_size(build)
    assert size in {32, 71, 75}
    with pytest.raises(ValueError, match="at least"):
        build(weights=None, input_shape=(size - 1, size - 1, 3))


def test_images_are_preprocessed_as_the_family_does_and_pixels_are_left_alone():
    pixels = np.full((1, 2, 2, 3), 255, np.float32)
    np.testing.assert_array_equal(application("MobileNet").preprocess(pixels), 1)
    np.testing.assert_array_equal(application("EfficientNetB0").preprocess(pixels), 255)
    # ResNet: blue first, less the mean of ImageNet
    np.testing.assert_allclose(
        application("ResNet50").preprocess(pixels)[0, 0, 0], [255 - 103.939, 255 - 116.779, 255 - 123.68], rtol=1e-6
    )
    np.testing.assert_array_equal(pixels, 255)


def test_a_subject_is_found_in_a_registry_by_name():
    assert subject("tests.whyserve.coverage.models:REGISTRY", "small").build().name == "small"
    with pytest.raises(KeyError, match="large"):
        subject("tests.whyserve.coverage.models:REGISTRY", "large")
