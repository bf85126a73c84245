import numpy as np

from whyserve.faithfulness.elements import Elements, default_region, mean_baseline


def test_the_channels_of_a_pixel_are_one_element():
    elements = Elements({"x": np.full((2, 2, 3), 9.0)})
    relevance = np.arange(12.0).reshape(1, 2, 2, 3)  # sums 0+1+2, 3+4+5, 6+7+8, 9+10+11
    assert elements.scores({"x": relevance}).tolist() == [[3, 12, 21, 30]]
    absent = np.array([[False, True, False, False]])
    replaced = elements.replaced({"x": relevance, "y": np.ones(1)}, absent)
    expected = relevance.copy()
    expected[0, 0, 1] = 9.0
    np.testing.assert_array_equal(replaced["x"], expected)
    assert replaced["y"].tolist() == [1.0]


def test_regions_of_an_image_come_and_go_together():
    elements = Elements({"x": np.zeros((3, 3, 1))}, region=2)  # regions of 4, 2, 2 and 1 pixels
    relevance = np.arange(1.0, 10).reshape(1, 3, 3, 1)
    assert elements.scores({"x": relevance}).tolist() == [[1 + 2 + 4 + 5, 3 + 6, 7 + 8, 9]]
    left = elements.replaced({"x": relevance}, np.array([[True, False, False, True]]))["x"]
    assert left[0, :, :, 0].tolist() == [[0, 0, 3], [0, 0, 6], [7, 8, 0]]


def test_elements_of_several_inputs_stand_side_by_side():
    elements = Elements({"row": np.array([10.0, 20.0]), "ids": np.zeros(2, np.int32)})
    inputs = {"row": np.array([[1.0, 2.0]], np.float32), "ids": np.array([[3, 4]], np.int32)}
    assert elements.scores(inputs).tolist() == [[1, 2, 3, 4]]
    replaced = elements.replaced(inputs, np.array([[False, True, True, False]]))
    assert (replaced["row"].tolist(), replaced["ids"].tolist()) == ([[1.0, 20.0]], [[0, 4]])
    assert (replaced["row"].dtype, replaced["ids"].dtype) == (np.float32, np.int32)


def test_the_mean_is_that_of_a_channel_in_images_and_of_a_feature_otherwise():
    assert mean_baseline(np.array([[1.0, 10.0], [3.0, 30.0]])).tolist() == [2.0, 20.0]
    images = np.stack([np.zeros((2, 2, 2)), np.ones((2, 2, 2))])
    images[..., 1] *= 10
    assert mean_baseline(images).tolist() == [[[0.5, 5.0]] * 2] * 2


def test_regions_are_a_seventh_of_an_image_by_default():
    assert default_region({"x": np.zeros((28, 28, 1))}) == 4
    assert default_region({"x": np.zeros((224, 256, 3)), "row": np.zeros(3)}) == 32
    assert default_region({"x": np.zeros((8, 8, 1))}) == 1
    assert default_region({"row": np.zeros(3)}) == 1
