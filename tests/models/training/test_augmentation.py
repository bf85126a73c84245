import numpy as np
import pytest
import tensorflow as tf

from models.training import TrainingConfig
from models.training.augmentation import augment, is_augmented

SIDE = 16


def config(**options):
    return TrainingConfig(architecture="cnn", data="digits", **options)


def coordinates(count, **options):
    """Where each output pixel is taken from, `(count, SIDE, SIDE, 2)` of x and y: ramps give it away exactly."""
    y, x = np.mgrid[:SIDE, :SIDE].astype(np.float32)
    ramps = np.repeat(np.stack([x, y], axis=-1)[np.newaxis], count, axis=0)
    return augment(tf.constant(ramps), [1, 2], config(**options), fill=0.0).numpy()


def test_a_flip_mirrors_left_and_right_in_about_half_of_the_images():
    images = np.random.default_rng(0).uniform(0, 255, (400, 5, 6, 3)).astype(np.float32)
    moved = augment(tf.constant(images), [3, 4], config(flip=True), fill=0.0).numpy()
    mirrored = np.abs(moved - images[:, :, ::-1]).max(axis=(1, 2, 3)) < 1e-3
    same = np.abs(moved - images).max(axis=(1, 2, 3)) < 1e-3
    assert np.all(mirrored ^ same)
    assert 150 < mirrored.sum() < 250  # 5 standard deviations


def test_a_shift_moves_every_pixel_by_the_same_bounded_step():
    found = coordinates(200, shift=0.25)
    y, x = np.mgrid[:SIDE, :SIDE]
    inner = slice(5, SIDE - 5)  # four pixels at most, and one of the fill
    steps = found[:, inner, inner] - np.stack([x, y], axis=-1)[inner, inner]
    np.testing.assert_allclose(steps, np.broadcast_to(steps[:, :1, :1], steps.shape), atol=1e-4)
    assert np.abs(steps).max() <= 4.0 + 1e-4
    assert np.ptp(steps, axis=(0, 1, 2)) == pytest.approx([8, 8], abs=0.5)


def test_a_rotation_turns_about_the_center_within_its_bound():
    found = coordinates(200, rotation=20.0)
    middle = slice(SIDE // 2 - 1, SIDE // 2 + 1)
    np.testing.assert_allclose(found[:, middle, middle].mean(axis=(1, 2)), (SIDE - 1) / 2, atol=1e-4)
    across = found[:, SIDE // 2, SIDE // 2 + 2] - found[:, SIDE // 2, SIDE // 2 - 2]  # 4 pixels to the right
    np.testing.assert_allclose(np.hypot(*across.T), 4.0, atol=1e-4)
    angles = np.degrees(np.arctan2(across[:, 1], across[:, 0]))
    assert np.abs(angles).max() <= 20.0 + 1e-3
    assert np.ptp(angles) == pytest.approx(40, abs=2)


def test_what_moves_in_has_the_fill_value():
    ones = tf.ones([50, 8, 8, 1])
    moved = augment(ones, [1, 2], config(shift=0.5), fill=-3.0).numpy()
    assert moved.min() == pytest.approx(-3.0)
    assert moved.max() == pytest.approx(1.0)


def test_the_seed_decides():
    first = coordinates(3, shift=0.1, rotation=5.0, flip=True)
    np.testing.assert_array_equal(first, coordinates(3, shift=0.1, rotation=5.0, flip=True))


@pytest.mark.parametrize(("options", "expected"), [({}, False), ({"shift": 0.1}, True), ({"flip": True}, True)])
def test_augmentation_is_off_by_default(options, expected):
    assert is_augmented(config(**options)) is expected
