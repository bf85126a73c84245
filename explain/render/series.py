"""A time series with its relevance under the curve, a stacked panel for each channel."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.path import Path

from explain.render.colors import COLORS, FAINT, INK
from explain.render.example import Example
from explain.render.sheet import COLORBAR, Panel, Sheet, frame_color

MAX_CHANNELS = 8
WIDTH = 4.6
HEIGHT = 0.72
GAP = 0.1
AXIS = 0.38
NAME = 0.95


def series_panel(example: Example) -> Panel:
    """The channels in their order, at most `MAX_CHANNELS`: those that hold most."""
    relevance = _channels(example.relevance)
    values = np.zeros_like(relevance) if example.values is None else _channels(example.values)
    strength = np.abs(relevance).sum(axis=0)
    chosen = np.sort(np.argsort(-strength, kind="stable")[:MAX_CHANNELS])
    height = len(chosen) * (HEIGHT + GAP) - GAP + AXIS

    def paint(sheet: Sheet, left: float, bottom: float) -> None:
        for row, channel in enumerate(chosen):
            top = bottom + height - row * (HEIGHT + GAP)
            axes = sheet.axes(left + NAME, top - HEIGHT, WIDTH, HEIGHT)
            _curve(axes, values[:, channel], relevance[:, channel], example.full)
            axes.set_ylabel(_name(example, int(channel)), fontsize=8, color=INK, rotation=0, ha="right", va="center")
            if row < len(chosen) - 1:
                axes.set_xticklabels([])
        axes.set_xlabel(_axis_label(relevance, chosen), fontsize=8.5, color=FAINT)
        sheet.colorbar(left + NAME + WIDTH, bottom + AXIS, height - AXIS, limit=example.full, unit=example.unit)

    return Panel(NAME + WIDTH + COLORBAR, height, paint)


def _channels(array: np.ndarray) -> np.ndarray:
    """`(time, channels) float64`."""
    if array.ndim not in (1, 2):
        raise ValueError(
            "A series must be of shape (time,) or (time, channels). Received: relevance of shape "
            f"{array.shape}. Draw it in another way (`--as bars`)."
        )
    return np.asarray(array, np.float64).reshape(len(array), -1)


def _curve(axes: Axes, values: np.ndarray, relevance: np.ndarray, limit: float) -> None:
    """The values as a line; the area between it and the lower edge has the colour of each step's relevance."""
    steps = np.arange(len(values))
    low, high = float(values.min()), float(values.max())
    margin = 0.08 * (high - low) or 0.5
    low, high = low - 2 * margin, high + margin
    end = limit or 1.0
    extent = (-0.5, len(values) - 0.5, low, high)
    axes.set_xlim(*extent[:2])
    axes.set_ylim(low, high)
    strip = axes.imshow(
        relevance[None], cmap=COLORS, vmin=-end, vmax=end, extent=extent, aspect="auto", interpolation="nearest"
    )
    # Half a step on at both ends, so that the first and the last step have their full width.
    outline_x = np.concatenate([[-0.5], steps, [len(values) - 0.5]])
    outline_y = np.concatenate([values[:1], values, values[-1:]])
    corners = [(outline_x[0], low), *zip(outline_x, outline_y, strict=True), (outline_x[-1], low)]
    strip.set_clip_path(Path(corners), transform=axes.transData)
    axes.plot(steps, values, color=INK, linewidth=1.0)
    axes.tick_params(labelsize=7, labelcolor=INK, length=2, color=FAINT)
    axes.locator_params(axis="y", nbins=3)
    frame_color(axes)


def _name(example: Example, channel: int) -> str:
    channels = _channels(example.relevance).shape[1]
    if len(example.names) == channels:
        return str(example.names[channel])
    return f"channel {channel}" if channels > 1 else "value"


def _axis_label(relevance: np.ndarray, chosen: np.ndarray) -> str:
    hidden = relevance.shape[1] - len(chosen)
    rest = relevance.sum() - relevance[:, chosen].sum()
    return "time step" + (f"; {hidden} more channels hold {rest:.3g}" if hidden else "")
