import numpy as np
from sklearn.datasets import load_digits

from models import data
from models.progress import SilentProgress


def test_digits_are_those_of_scikit_learn_each_in_one_set():
    digits = data.dataset("digits").load(0, SilentProgress())
    assert digits.sizes == {"train": 1257, "validation": 180, "test": 360}
    assert digits.class_labels == tuple("0123456789")
    parts = (digits.train, digits.validation, digits.test)
    found = {
        (image.tobytes(), int(label)) for part in parts for image, label in zip(part.images, part.labels, strict=True)
    }
    official = load_digits()
    expected = {
        (image.astype(np.uint8).tobytes(), int(label))
        for image, label in zip(official.images, official.target, strict=True)
    }
    assert found == expected
    assert (digits.train.images.min(), digits.train.images.max()) == digits.pixel_range == (0, 16)
    assert digits.task.image_shape == data.dataset("digits").image_shape


def test_every_digit_is_in_every_set_in_its_share():
    digits = data.dataset("digits").load(0, SilentProgress())
    shares = [np.bincount(part.labels) / len(part) for part in (digits.train, digits.validation, digits.test)]
    np.testing.assert_allclose(shares[1], shares[0], atol=0.006)  # one example of 180
    np.testing.assert_allclose(shares[2], shares[0], atol=0.003)


def test_the_digest_names_the_arrays():
    load = data.dataset("digits").load
    digest = load(0, SilentProgress()).digest()
    assert load(0, SilentProgress()).digest() == digest
    assert load(1, SilentProgress()).digest() != digest
    changed = load(0, SilentProgress())
    changed.test.images[-1, 7, 7, 0] ^= 1
    assert changed.digest() != digest
