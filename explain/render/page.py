"""A page of pictures: explained inputs in a grid, each drawn after its kind."""

import importlib
import itertools
import textwrap
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path

from matplotlib.figure import Figure

from explain.render.colors import FAINT
from explain.render.example import Example, drawn_as
from explain.render.fonts import telling_what_is_missing
from explain.render.sheet import Panel, Sheet

# Imported when a page needs them: laying out graphs takes networkx.
_PANELS = {
    "image": ("explain.render.images", "image_panel"),
    "bars": ("explain.render.bars", "bars_panel"),
    "text": ("explain.render.text", "text_panel"),
    "series": ("explain.render.series", "series_panel"),
    "graph": ("explain.render.graph", "graph_panel"),
}
# In inches.
MARGIN = 0.2
CELL_GAP = 0.25
TITLE_LINE = 0.18
TITLE_GAP = 0.1
TITLE_CHARACTER = 0.073
HEADING = 0.5
FOOT = 0.22
LEGEND = "red speaks for what is explained, blue against it"


def draw(examples: Sequence[Example], *, columns: int = 3, heading: str = "") -> Figure:
    """Draws explained inputs in a grid.

    Args:
        examples: What to draw, at least one.
        columns: Pictures in a row, at most; 1 or more.
        heading: A line above the whole picture.

    Returns:
        A Figure; write it with `save`.

    Raises:
        ValueError: There is nothing to draw, or an example can't be drawn as its kind.
    """
    if not examples:
        raise ValueError("Expected at least one example to draw. Received: an empty sequence")
    if columns < 1:
        raise ValueError(f"`columns` must be 1 or more. Received: columns={columns}")
    columns = min(columns, len(examples))
    panels = [_panel(example) for example in examples]
    titles = [_wrapped(example.title, panel.width) for example, panel in zip(examples, panels, strict=True)]
    widths = [max(panel.width for panel in panels[column::columns]) for column in range(columns)]
    starts = range(0, len(panels), columns)
    heights = [max(panel.height for panel in panels[start : start + columns]) for start in starts]
    title_lines = [max(len(lines) for lines in titles[start : start + columns]) for start in starts]
    return _painted(panels, titles, (widths, heights, title_lines), heading)


def save(figure: Figure, path: Path, *, dpi: int = 110, tell: Callable[[str], None] = warnings.warn) -> Path:
    """Writes the figure; the suffix of `path` chooses the format (png, svg, pdf, jpg).

    Args:
        figure: What `draw` returned.
        path: Where to; the folder is made when it is missing.
        dpi: Pixels an inch.
        tell: Takes a line that says which characters can't be drawn, where there are such.

    Returns:
        The path.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with telling_what_is_missing(tell):
        figure.savefig(path, dpi=dpi)
    return path


def _panel(example: Example) -> Panel:
    module, function = _PANELS[drawn_as(example)]
    panel: Panel = getattr(importlib.import_module(module), function)(example)
    return panel


def _wrapped(title: str, width: float) -> list[str]:
    characters = max(int(width / TITLE_CHARACTER), 20)
    return [part for line in title.splitlines() for part in textwrap.wrap(line, characters) or [""]]


def _painted(
    panels: Sequence[Panel], titles: Sequence[list[str]], grid: tuple[list[float], list[float], list[int]], heading: str
) -> Figure:
    """The grid, from the top left; a picture smaller than its cell stands at the cell's top left."""
    widths, heights, title_lines = grid
    rows = [height + TITLE_LINE * lines + TITLE_GAP for height, lines in zip(heights, title_lines, strict=True)]
    width = 2 * MARGIN + sum(widths) + CELL_GAP * (len(widths) - 1)
    height = MARGIN + FOOT + sum(rows) + CELL_GAP * (len(rows) - 1) + (HEADING if heading else MARGIN / 2)
    sheet = Sheet(Figure(figsize=(width, height), facecolor="white"))
    if heading:
        sheet.write(width / 2, height - 0.34, heading, fontsize=14, fontweight="bold")
    lefts = [MARGIN + offset + CELL_GAP * i for i, offset in enumerate(itertools.accumulate([0.0, *widths[:-1]]))]
    top = height - (HEADING if heading else MARGIN / 2)
    for index, (panel, lines) in enumerate(zip(panels, titles, strict=True)):
        row, column = divmod(index, len(widths))
        ceiling = top - sum(rows[:row]) - CELL_GAP * row
        for number, line in enumerate(lines):
            sheet.write(lefts[column], ceiling - TITLE_LINE * (number + 0.8), line, fontsize=9.5, ha="left")
        panel.paint(sheet, lefts[column], ceiling - TITLE_LINE * title_lines[row] - TITLE_GAP - panel.height)
    sheet.write(MARGIN, 0.12, LEGEND, fontsize=7.5, ha="left", color=FAINT)
    return sheet.figure
