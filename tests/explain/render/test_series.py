import numpy as np
import pytest

from explain.render import Example, draw
from explain.render.series import MAX_CHANNELS
from tests.explain.render.examples import series


def test_each_channel_has_its_curve_over_the_colours_of_its_relevance():
    example = series()
    speed, pressure, bar = draw([example]).axes
    assert [axes.get_ylabel() for axes in (speed, pressure)] == ["speed", "pressure"]
    for channel, axes in enumerate((speed, pressure)):
        np.testing.assert_array_equal(axes.lines[0].get_ydata(), example.values[:, channel])
        np.testing.assert_array_equal(axes.images[0].get_array(), example.relevance[None, :, channel])
        assert axes.images[0].get_clim() == (-2, 2)  # one scale for all channels
        assert axes.images[0].get_extent()[:2] == [-0.5, 4.5]
    assert bar.get_ylim() == (-2, 2)


def test_colours_end_at_the_curve():
    axes = draw([series()]).axes[1]
    outline = axes.images[0].get_clip_path().get_fully_transformed_path()
    inside = axes.transData.transform([(1, 2.9), (1, 3.1), (2, 1.9), (2, 2.1)])  # the values there are 3 and 2
    assert outline.contains_points(inside).tolist() == [True, False, True, False]


def test_a_single_series_needs_no_channel_axis():
    axes = draw([Example(np.arange(4.0), np.ones(4), kind="series")]).axes
    assert [one.get_ylabel() for one in axes[:-1]] == ["value"]


def test_the_strongest_channels_are_shown_and_the_rest_is_told():
    relevance = np.tile(np.arange(10.0), (3, 1))  # channel k holds 3 k: 0 and 1 are left out, and hold 0 + 3
    figure = draw([Example(np.zeros((3, 10)), relevance)])
    shown = figure.axes[:-1]
    assert [axes.get_ylabel() for axes in shown] == [f"channel {k}" for k in range(2, 10)]
    assert len(shown) == MAX_CHANNELS
    assert shown[-1].get_xlabel() == "time step; 2 more channels hold 3"


def test_what_is_no_series_is_refused():
    with pytest.raises(ValueError, match=r"A series must be of shape.*\(2, 2, 2\).*--as bars"):
        draw([Example(np.zeros((2, 2, 2)), np.zeros((2, 2, 2)), kind="series")])
