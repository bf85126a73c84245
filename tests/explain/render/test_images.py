import numpy as np
import pytest

from explain.render import Example, draw, heatmap
from tests.explain.render.examples import image


def test_heatmap_sums_channels_and_keeps_signs_and_zeros():
    relevance = np.array([[[1.0, 1.0], [0.0, 0.0]], [[-3.0, -1.0], [1.0, -1.0]]])  # sums 2, 0, -4, 0
    np.testing.assert_allclose(heatmap(relevance), [[0.5, 0.0], [-1.0, 0.0]])
    np.testing.assert_allclose(heatmap(relevance, 8.0), [[0.25, 0.0], [-0.5, 0.0]])


def test_heatmap_of_no_relevance_is_zero():
    assert heatmap(np.zeros((2, 2))).tolist() == [[0, 0], [0, 0]]


def test_image_stands_beside_its_heatmap_on_a_symmetric_scale():
    example = image()
    left, right, bar = draw([example]).axes
    np.testing.assert_array_equal(left.images[0].get_array(), example.values)
    np.testing.assert_allclose(right.images[0].get_array(), heatmap(example.relevance))
    assert right.images[0].get_clim() == (-1, 1)
    assert bar.get_ylim() == pytest.approx((-example.full, example.full))


def test_the_colour_bar_has_the_amounts_and_their_unit():
    bar = draw([image(unit="logit", limit=2.5)]).axes[2]
    assert [label.get_text() for label in bar.get_yticklabels()] == ["-2.5", "0", "+2.5"]
    assert bar.get_title(loc="left") == "logit"


def test_a_long_unit_is_shortened_to_the_space_beside_the_picture():
    bar = draw([image(unit="remaining_life_in_cycles")]).axes[2]
    assert bar.get_title(loc="left") == "remaining_li\N{HORIZONTAL ELLIPSIS}"


def test_one_scale_makes_the_same_amount_the_same_colour():
    weak = Example(np.zeros((2, 2)), np.full((2, 2), 0.5), limit=2.0)
    np.testing.assert_allclose(draw([weak]).axes[1].images[0].get_array(), 0.25)


def test_colours_of_0_to_255_are_shown_as_fractions():
    example = image((5, 5, 3))
    np.testing.assert_allclose(draw([example]).axes[0].images[0].get_array(), example.values / 255)


@pytest.mark.parametrize("channels", [3, 4])
def test_colours_below_zero_are_stretched(channels):
    values = np.random.default_rng(0).normal(size=(5, 5, channels))
    shown = draw([Example(values, values)]).axes[0].images[0].get_array()
    np.testing.assert_allclose(shown, (values - values.min()) / np.ptp(values))
    assert (shown.min(), shown.max()) == (0, 1)


def test_a_feature_map_is_drawn_beside_the_image_and_without_one_alone():
    relevance = np.arange(8.0).reshape(2, 2, 2)  # sums 1, 5, 9, 13
    both = draw([Example(np.ones((6, 6)), relevance, kind="image", layer="pooling")])
    np.testing.assert_allclose(both.axes[1].images[0].get_array(), np.array([[1, 5], [9, 13]]) / 13)
    assert len(both.axes) == 3
    assert len(draw([Example(None, relevance, kind="image", layer="pooling")]).axes) == 2


def test_what_is_no_image_is_refused():
    with pytest.raises(ValueError, match=r"An image must be of shape.*\(3,\).*--as bars"):
        draw([Example(np.zeros(3), np.zeros(3), kind="image")])
