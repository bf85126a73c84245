import numpy as np
import pytest

from models.training import TrainingConfig
from models.training.pipeline import balanced_class_weights, evaluation_batches, num_steps, training_batches
from tests.models.training.data import random_data


def config(**options):
    return TrainingConfig(architecture="cnn", data="digits", batch_size=16, epochs=3, **options)


def test_each_epoch_holds_every_example_once_in_an_order_of_its_own():
    data = random_data()
    batches = list(training_batches(data, config()).as_numpy_iterator())
    assert [len(images) for images, _ in batches] == [16, 16, 16, 2] * 3
    assert num_steps(50, 16) == 4
    orders = [
        np.concatenate([images[:, 0, 0, 0] for images, _ in batches[4 * e : 4 * e + 4]]).astype(int) for e in range(3)
    ]
    for order in orders:
        np.testing.assert_array_equal(np.sort(order), np.arange(50))
    assert not np.array_equal(orders[0], orders[1])
    assert not np.array_equal(orders[0], np.arange(50))
    # Images and classes stay together, and pixels are raw.
    images, targets = batches[1]
    order = images[:, 0, 0, 0].astype(int)
    np.testing.assert_array_equal(targets.argmax(axis=1), data.train.labels[order])
    np.testing.assert_array_equal(images, data.train.images[order])


def test_a_resumed_training_sees_the_batches_that_it_would_have_seen():
    options = config(shift=0.2, rotation=10.0, flip=True)
    whole = list(training_batches(random_data(), options).as_numpy_iterator())
    resumed = list(training_batches(random_data(), options, first_epoch=1).as_numpy_iterator())
    assert len(resumed) == 8
    for expected, found in zip(whole[4:], resumed, strict=True):
        np.testing.assert_array_equal(found[0], expected[0])
        np.testing.assert_array_equal(found[1], expected[1])


def test_another_seed_is_another_order():
    first, second = (next(training_batches(random_data(), config(seed=s)).as_numpy_iterator())[0] for s in (0, 1))
    assert not np.array_equal(first, second)


def test_class_weights_go_with_the_classes():
    weights = np.array([1.0, 2.0, 5.0], np.float32)
    for _, targets, found in training_batches(random_data(), config(), class_weights=weights).as_numpy_iterator():
        np.testing.assert_array_equal(found, weights[targets.argmax(axis=1)])


def test_balanced_weights_make_classes_count_alike():
    labels = np.repeat([0, 1, 2], [10, 30, 60])
    # 100 examples by 3 classes by the count of each.
    np.testing.assert_allclose(balanced_class_weights(labels, 3), [100 / 30, 100 / 90, 100 / 180], rtol=1e-6)


@pytest.mark.parametrize("batch_size", [5, 12, 100])
def test_evaluation_goes_through_the_examples_in_their_order(batch_size):
    data = random_data()
    batches = list(evaluation_batches(data.validation, 3, batch_size).as_numpy_iterator())
    np.testing.assert_array_equal(np.concatenate([images for images, _ in batches]), data.validation.images)
    np.testing.assert_array_equal(
        np.concatenate([targets for _, targets in batches]), np.eye(3)[data.validation.labels]
    )
