import sys
from dataclasses import replace

import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg

from explain.render import draw, save
from explain.render.page import LEGEND
from tests.explain.render.examples import graph, image, row, series, text


def lines(figure):
    return [one.get_text() for one in figure.texts]


def test_titles_and_the_heading_stand_above_and_the_legend_below():
    assert lines(draw([image(), image()], heading="Why?")) == ["Why?", "predicted 3", "predicted 3", LEGEND]


@pytest.mark.parametrize("columns", [1, 2, 3])
def test_panels_of_every_kind_do_not_overlap_and_lie_on_the_page(columns):
    examples = [image(), row(), text(), series(), graph(), image((4, 4, 3))]
    figure = draw(examples, columns=columns, heading="why")
    boxes = [axes.get_position() for axes in figure.axes]
    assert len(boxes) == 3 + 1 + 2 + 3 + 2 + 3
    assert all(0 <= box.x0 < box.x1 <= 1 and 0 <= box.y0 < box.y1 <= 1 for box in boxes)
    for index, box in enumerate(boxes):
        assert not any(box.overlaps(other) for other in boxes[index + 1 :])


def test_long_titles_are_broken_to_the_width_of_their_picture():
    example = replace(image(), title="why " + "a rather long label " * 5)
    figure = draw([example])
    assert len(lines(figure)) > 3
    renderer = FigureCanvasAgg(figure).get_renderer()
    width = figure.bbox.width
    assert all(one.get_window_extent(renderer).x1 <= width for one in figure.texts)


@pytest.mark.parametrize("suffix", ["png", "svg", "pdf"])
def test_the_suffix_chooses_the_format(tmp_path, suffix):
    path = save(draw([image()]), tmp_path / "new folder" / f"why.{suffix}")
    assert path.stat().st_size > 1000


def test_pyplot_is_not_touched(tmp_path):
    before = "matplotlib.pyplot" in sys.modules
    save(draw([image()]), tmp_path / "why.png")
    assert ("matplotlib.pyplot" in sys.modules) is before


def test_nothing_to_draw_is_refused():
    with pytest.raises(ValueError, match="at least one example"):
        draw([])
    with pytest.raises(ValueError, match=r"`columns` must be 1 or more. Received: columns=0"):
        draw([image()], columns=0)
