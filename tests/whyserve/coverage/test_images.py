import numpy as np

from whyserve.coverage.images import photo_crops


def test_crops_are_different_photographs_and_the_same_for_one_seed():
    crops = photo_crops(6, 32, seed=1)
    assert crops.shape == (6, 32, 32, 3)
    assert crops.dtype == np.float32
    assert crops.min() >= 0
    assert 128 < crops.max() <= 255
    assert all(crop.std() > 5 for crop in crops)
    assert all(not np.array_equal(a, b) for i, a in enumerate(crops) for b in crops[:i])
    np.testing.assert_array_equal(crops, photo_crops(6, 32, seed=1))
    assert not np.array_equal(crops, photo_crops(6, 32, seed=2))
