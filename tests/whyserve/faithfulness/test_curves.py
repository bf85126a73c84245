import numpy as np
import pytest

from whyserve.faithfulness.curves import area, counts, curve, perturbed, ranks
from whyserve.faithfulness.elements import Elements

# The score is the sum of a row, so that a curve can be told by hand.
X = {"x": np.array([[4.0, 1.0, 3.0, 2.0], [0.0, 0.0, 5.0, 5.0]])}
ELEMENTS = Elements({"x": np.zeros(4)})


def total(inputs):
    return inputs["x"].sum(axis=1)


def test_ranks_fall_with_the_score():
    assert ranks(np.array([[0.5, 2.0, -1.0]]), np.random.default_rng(0)).tolist() == [[1, 0, 2]]


def test_equal_scores_come_in_random_order():
    places = ranks(np.zeros((2000, 3)), np.random.default_rng(0))
    assert (np.sort(places, axis=1) == [0, 1, 2]).all()
    np.testing.assert_allclose(places.mean(axis=0), 1.0, atol=0.06)  # 3 standard errors of 0.018


def test_points_go_from_none_to_all():
    assert counts(10, 5).tolist() == [0, 2, 4, 6, 8, 10]
    assert counts(3, 32).tolist() == [0, 1, 2, 3]


def test_deletion_takes_the_highest_first_and_insertion_puts_them_in():
    places = ranks(X["x"], np.random.default_rng(0))
    at = counts(4, 4)
    deletion = curve(total, perturbed(X, ELEMENTS, places, at, insertion=False))
    insertion = curve(total, perturbed(X, ELEMENTS, places, at, insertion=True))
    assert deletion.tolist() == [[10, 6, 3, 1, 0], [10, 5, 0, 0, 0]]
    assert insertion.tolist() == [[0, 4, 7, 9, 10], [0, 5, 10, 10, 10]]


def test_the_area_is_the_trapezoids():
    # (0 + 1)/2 * 1/4 + (1 + 3)/2 * 3/4 = 0.125 + 1.5
    assert area(np.array([[0.0, 1.0, 3.0]]), np.array([0, 1, 4])) == pytest.approx([1.625])
