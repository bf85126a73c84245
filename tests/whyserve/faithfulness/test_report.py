import math

import numpy as np
import pytest

from whyserve.faithfulness.report import DELETION, INSERTION, RANDOM, RELEVANCE, Report, measure, standard_error


def report():
    areas = {RELEVANCE: [0.1, 0.3], RANDOM: [0.5, 0.5]}
    measured = {
        name: {kind: measure(np.zeros((2, 3)), np.array(values)) for kind in (DELETION, INSERTION)}
        for name, values in areas.items()
    }
    return Report("m", 1, "epsilon", "d", 2, 4, "mean", 1, 0, 1, (0, 0.5, 1), measured)


def test_the_standard_error_is_that_of_the_mean():
    assert standard_error(np.array([1.0, 3.0])) == pytest.approx(1.0)  # deviation sqrt(2) / sqrt(2)
    assert math.isnan(standard_error(np.array([1.0])))


def test_a_measure_has_means_and_errors():
    measured = measure(np.array([[1.0, 0.0], [3.0, 0.0]]), np.array([0.2, 0.4]))
    assert measured.curve == (2.0, 0.0)
    assert measured.curve_error == pytest.approx((1.0, 0.0))
    assert (measured.area, measured.error) == pytest.approx((0.3, 0.1))


def test_the_advantage_is_paired_and_knows_which_way_is_good():
    # differences 0.4 and 0.2: mean 0.3, error 0.1; smaller is better in deletion, larger in insertion
    assert report().advantage(RANDOM, DELETION) == pytest.approx((0.3, 0.1))
    assert report().advantage(RANDOM, INSERTION) == pytest.approx((-0.3, 0.1))
