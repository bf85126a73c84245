"""Curves with their errors side by side, as of an evaluation."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.figure import Figure

from explain.render.colors import FAINT, FRAME, GRID, INK
from explain.render.sheet import Sheet

# Okabe and Ito 2008: told apart with every kind of colour blindness; the line styles differ besides.
_STYLES = (("#d55e00", "-"), ("#56606e", "--"), ("#0072b2", "-."), ("#009e73", ":"))
WIDTH, HEIGHT, LEFT, BOTTOM, GAP, TOP = 3.6, 2.8, 0.65, 0.55, 0.75, 0.75


@dataclass(frozen=True)
class Curve:
    """One line: its label, and its heights with their errors."""

    label: str
    heights: Sequence[float]
    errors: Sequence[float]


def draw_curves(
    fractions: Sequence[float], panels: Mapping[str, Sequence[Curve]], *, heading: str, labels: tuple[str, str]
) -> Figure:
    """Draws panels of curves with bands of one standard error.

    Args:
        fractions: Places of the points.
        panels: Curves by the panel's title.
        heading: A line above all.
        labels: Of the horizontal and the vertical axis.
    """
    size = (LEFT + len(panels) * (WIDTH + GAP), BOTTOM + HEIGHT + TOP)
    sheet = Sheet(Figure(figsize=size, facecolor="white"))
    sheet.write(size[0] / 2, size[1] - 0.3, heading, fontsize=11, fontweight="bold")
    x = np.asarray(fractions)
    for number, (name, curves) in enumerate(panels.items()):
        axes = sheet.axes(LEFT + number * (WIDTH + GAP), BOTTOM, WIDTH, HEIGHT)
        for curve, (color, style) in zip(curves, _STYLES, strict=False):
            heights, errors = np.asarray(curve.heights), np.nan_to_num(np.asarray(curve.errors))
            axes.fill_between(x, heights - errors, heights + errors, color=color, alpha=0.2, linewidth=0)
            axes.plot(x, heights, color=color, linestyle=style, linewidth=1.6, label=curve.label)
        axes.set_title(name, fontsize=9.5, color=INK, loc="left")
        axes.set_xlabel(labels[0], fontsize=8.5, color=FAINT)
        axes.set_ylabel(labels[1], fontsize=8.5, color=FAINT)
        axes.tick_params(labelsize=8, labelcolor=INK, color=FRAME)
        axes.grid(color=GRID, linewidth=0.8)
        axes.set_xlim(0, 1)
        for spine in axes.spines.values():
            spine.set_color(FRAME)
        axes.legend(fontsize=8, frameon=False)
    return sheet.figure
