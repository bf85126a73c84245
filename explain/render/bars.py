"""Signed bars: the strongest elements of an input, by name and value."""

import numpy as np

from explain.render.colors import AGAINST, FAINT, FOR, GRID, INK
from explain.render.example import Example
from explain.render.sheet import Panel, Sheet

MAX_BARS = 16
WIDTH = 3.3
BAR_HEIGHT = 0.25
AXIS = 0.45
CHARACTER = 0.078  # width of a character of a label, in inches
MAX_NAME = 40


def bars_panel(example: Example) -> Panel:
    """The strongest elements, the strongest on top; red speaks for the explained output, blue against it."""
    relevance = np.asarray(example.relevance, np.float64).ravel()
    order = np.argsort(-np.abs(relevance), kind="stable")[:MAX_BARS]
    labels = [_label(example, int(index)) for index in order]
    label_width = CHARACTER * max(map(len, labels), default=0) + 0.12
    height = BAR_HEIGHT * len(order)

    def paint(sheet: Sheet, left: float, bottom: float) -> None:
        axes = sheet.axes(left + label_width, bottom + AXIS, WIDTH, height)
        shown = relevance[order]
        axes.barh(range(len(order)), shown, color=[FOR if r >= 0 else AGAINST for r in shown], height=0.72)
        axes.axvline(0, color=FAINT, linewidth=0.8)
        axes.set_yticks(range(len(order)), labels)
        axes.set_ylim(len(order) - 0.4, -0.6)
        if example.limit:
            axes.set_xlim(-1.05 * example.limit, 1.05 * example.limit)
        axes.tick_params(axis="both", labelsize=8.5, labelcolor=INK, length=0)
        axes.set_xlabel(_axis_label(example.unit, relevance, shown), fontsize=8.5, color=FAINT)
        axes.grid(axis="x", color=GRID, linewidth=0.8)
        axes.locator_params(axis="x", nbins=6)
        axes.set_axisbelow(True)
        for spine in axes.spines.values():
            spine.set_visible(False)

    return Panel(label_width + WIDTH, height + AXIS, paint)


def _label(example: Example, index: int) -> str:
    """The element's name, shortened if need be, with its value."""
    name = _name(example, index)
    name = name if len(name) <= MAX_NAME else f"{name[: MAX_NAME - 1]}\N{HORIZONTAL ELLIPSIS}"
    return name if example.values is None else f"{name} = {_number(np.asarray(example.values).ravel()[index])}"


def _name(example: Example, index: int) -> str:
    if len(example.names) == example.relevance.size:
        return str(example.names[index])
    place = np.unravel_index(index, example.relevance.shape)
    return str([int(i) for i in place])


def _axis_label(unit: str, relevance: np.ndarray, shown: np.ndarray) -> str:
    hidden = relevance.size - shown.size
    rest = f"; {hidden} more hold {relevance.sum() - shown.sum():.3g}" if hidden else ""
    return f"relevance{f' in {unit}' if unit else ''} (sum {relevance.sum():.3g}{rest})"


def _number(value: object) -> str:
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    return f"{value:.4g}" if isinstance(value, (int, float, np.number)) else str(value)
