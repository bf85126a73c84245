import numpy as np

from models.training.samples import choose_samples, write_samples
from tests.models.training.data import random_data


def test_samples_are_held_out_examples_with_the_classes_in_turn():
    test = random_data().test
    samples = choose_samples(test, 0)
    np.testing.assert_array_equal(samples.labels, np.arange(32) % 3)
    number = samples.images[:, 0, 0, 0]
    assert len(set(number)) == 32
    np.testing.assert_array_equal(samples.images, test.images[number])
    np.testing.assert_array_equal(samples.labels, test.labels[number])
    np.testing.assert_array_equal(choose_samples(test, 0).images, samples.images)
    assert not np.array_equal(choose_samples(test, 1).images, samples.images)


def test_a_small_test_set_is_taken_whole():
    validation = random_data().validation
    assert sorted(choose_samples(validation, 0).images[:, 0, 0, 0]) == list(range(12))


def test_the_file_holds_raw_inputs_by_the_inputs_name(tmp_path):
    samples = choose_samples(random_data().test, 0)
    write_samples(tmp_path / "samples.npz", "image", samples)
    with np.load(tmp_path / "samples.npz", allow_pickle=False) as found:
        assert sorted(found) == ["image", "labels"]
        assert (found["image"].dtype, found["labels"].dtype) == (np.float32, np.int64)
        np.testing.assert_array_equal(found["image"], samples.images)
        np.testing.assert_array_equal(found["labels"], samples.labels)
