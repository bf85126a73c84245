import numpy as np

from explain.render.curves import Curve, draw_curves


def test_curves_stand_side_by_side_with_their_errors():
    curve = Curve("relevance (0.500)", [1.0, 0.5, 0.0], [0.0, 0.1, float("nan")])
    figure = draw_curves([0, 0.5, 1], {"deletion": [curve], "insertion": [curve]}, heading="why", labels=("x", "y"))
    left, right = figure.axes
    assert [axes.get_title(loc="left") for axes in (left, right)] == ["deletion", "insertion"]
    np.testing.assert_array_equal(left.lines[0].get_ydata(), curve.heights)
    assert [text.get_text() for text in left.get_legend().get_texts()] == ["relevance (0.500)"]
    band = left.collections[0].get_paths()[0].vertices
    assert {0.4, 0.6} <= set(np.round(band[band[:, 0] == 0.5][:, 1], 6))
