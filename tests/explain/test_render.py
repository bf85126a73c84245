import numpy as np
import pytest
from matplotlib.colors import to_hex

from explain import render
from explain.render import Example, draw, heatmap, is_image, save, title


def image(shape=(4, 6), seed=0):
    generator = np.random.default_rng(seed)
    return Example(generator.uniform(0, 255, shape), generator.normal(size=shape), "predicted 3")


def test_title_reads_as_one_line():
    assert title("3", 0.9912, true="3", gap=0.0213) == "predicted 3 (99.1 %), true 3, gap 0.021"


def test_title_leaves_out_what_is_not_known():
    assert title("17.5") == "predicted 17.5"


def test_heatmap_sums_channels_and_keeps_signs_and_zeros():
    relevance = np.array([[[1.0, 1.0], [0.0, 0.0]], [[-3.0, -1.0], [1.0, -1.0]]])  # sums 2, 0, -4, 0
    np.testing.assert_allclose(heatmap(relevance), [[0.5, 0.0], [-1.0, 0.0]])


def test_heatmap_of_no_relevance_is_zero():
    assert heatmap(np.zeros((2, 2))).tolist() == [[0, 0], [0, 0]]


def test_no_relevance_is_white_and_signs_are_red_and_blue():
    assert to_hex(render.COLORS(0.5)) == "#ffffff"
    red, blue = render.COLORS(0.9), render.COLORS(0.1)
    assert red[0] > red[2]
    assert blue[2] > blue[0]


@pytest.mark.parametrize(
    ("shape", "drawn"),
    [((8, 8), True), ((8, 8, 1), True), ((8, 8, 3), True), ((8, 8, 5), False), ((30,), False), ((1, 30), False)],
)
def test_an_image_is_told_by_its_shape(shape, drawn):
    assert is_image(shape) is drawn


def test_image_stands_beside_its_heatmap_on_a_symmetric_scale():
    example = image()
    figure = draw([example])
    left, right, bar = figure.axes
    np.testing.assert_array_equal(left.images[0].get_array(), example.values)
    np.testing.assert_allclose(right.images[0].get_array(), heatmap(example.relevance))
    assert right.images[0].get_clim() == (-1, 1)
    assert bar.get_ylim() == (-1, 1)
    assert [text.get_text() for text in figure.texts] == ["predicted 3"]


def test_panels_of_a_grid_do_not_overlap_and_lie_on_the_page():
    boxes = [axes.get_position() for axes in draw([image()] * 7, columns=3, heading="why").axes]
    assert len(boxes) == 7 * 2 + 1
    assert all(0 <= box.x0 < box.x1 <= 1 and 0 <= box.y0 < box.y1 <= 1 for box in boxes)
    for index, box in enumerate(boxes):
        assert not any(box.overlaps(other) for other in boxes[index + 1 :])


def test_colours_of_0_to_255_are_shown_as_fractions():
    example = image((5, 5, 3))
    shown = draw([example]).axes[0].images[0].get_array()
    np.testing.assert_allclose(shown, example.values / 255)


def test_bars_show_the_strongest_features_first_with_their_values():
    example = Example(np.array([1.0, 2.5, -3.0]), np.array([0.1, -2.0, 1.0]), "t", ("age", "hours", "gain"))
    axes = draw([example]).axes[0]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["hours = 2.5", "gain = -3", "age = 1"]
    assert [patch.get_width() for patch in axes.patches] == [-2.0, 1.0, 0.1]
    assert axes.patches[0].get_facecolor() == render.COLORS(0.15)
    assert axes.patches[1].get_facecolor() == render.COLORS(0.85)


def test_bars_say_what_the_features_that_are_left_out_hold():
    relevance = np.arange(20, 0, -1.0)  # the 16 strongest: 20 .. 5; left out: 4 + 3 + 2 + 1 = 10
    axes = draw([Example(np.zeros(20), relevance)]).axes[0]
    assert axes.get_xlabel() == "relevance (sum 210; 4 more features hold 10)"


@pytest.mark.parametrize("suffix", ["png", "svg", "pdf"])
def test_the_suffix_chooses_the_format(tmp_path, suffix):
    path = save(draw([image()]), tmp_path / "new folder" / f"why.{suffix}")
    assert path.stat().st_size > 1000


def test_pyplot_is_not_touched(tmp_path):
    import sys

    before = "matplotlib.pyplot" in sys.modules
    save(draw([image()]), tmp_path / "why.png")
    assert ("matplotlib.pyplot" in sys.modules) is before


def test_relevance_of_another_shape_is_refused():
    with pytest.raises(ValueError, match=r"shape of `values`.*\(2, 2\).*\(2, 3\)"):
        Example(np.zeros((2, 2)), np.zeros((2, 3)))


def test_names_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="2 names"):
        Example(np.zeros(3), np.zeros(3), names=("a", "b"))


def test_nothing_to_draw_is_refused():
    with pytest.raises(ValueError, match="at least one example"):
        draw([])
