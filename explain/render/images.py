"""An image beside its heatmap."""

import numpy as np

from explain.render.colors import COLORS
from explain.render.example import Example, plane
from explain.render.sheet import COLORBAR, Panel, Sheet, frame

SIDE = 1.45
GAP = 0.07


def heatmap(relevance: np.ndarray, limit: float | None = None) -> np.ndarray:
    """Relevance as it is coloured: channels summed, divided by the amount of full colour.

    Args:
        relevance: `(height, width)` or `(height, width, channels)`.
        limit: The amount of full colour; the largest by default.

    Returns:
        `(height, width) float64`, in [-1, 1] unless `limit` is smaller than what is there; zeros stay zeros, so that 0
        is white and the sign is the colour.
    """
    pixels = plane(relevance)
    end = float(np.max(np.abs(pixels), initial=0.0)) if limit is None else limit
    return pixels / end if end > 0 else pixels


def image_panel(example: Example) -> Panel:
    """The image, its heatmap and a colour bar; without an image the heatmap alone."""
    if plane(example.relevance).ndim != 2:
        raise ValueError(
            "An image must be of shape (height, width) or (height, width, channels). Received: relevance of shape "
            f"{example.relevance.shape}. Draw it in another way (`--as bars`)."
        )
    height, width = (example.relevance if example.values is None else example.values).shape[:2]
    side = SIDE * min(max(width / height, 0.5), 2.5)
    shown = side if example.values is None else 2 * side + GAP

    def paint(sheet: Sheet, left: float, bottom: float) -> None:
        if example.values is not None:
            axes = sheet.axes(left, bottom, side, SIDE)
            axes.imshow(_displayable(example.values), cmap="gray_r", interpolation="nearest", aspect="auto")
            frame(axes)
        axes = sheet.axes(left + shown - side, bottom, side, SIDE)
        colored = heatmap(example.relevance, example.full)
        axes.imshow(colored, cmap=COLORS, vmin=-1, vmax=1, interpolation="nearest", aspect="auto")
        frame(axes)
        sheet.colorbar(left + shown, bottom, SIDE, limit=example.full, unit=example.unit)

    return Panel(shown + COLORBAR, SIDE, paint)


def _displayable(values: np.ndarray) -> np.ndarray:
    """Gray `(height, width)` as it is; colours `(height, width, 3 or 4)` as [0, 1].

    Colours that exceed 1 are taken for 0..255; where some are negative, as in standardised images, the smallest becomes
    0 and the largest 1.
    """
    pixels = np.asarray(values, np.float64)
    if pixels.ndim == 3 and pixels.shape[2] not in (3, 4):
        return pixels.mean(axis=2)
    if pixels.ndim == 2:
        return pixels
    low, high = pixels.min(initial=0.0), pixels.max(initial=0.0)
    if low < 0:
        return (pixels - low) / (high - low)
    return np.clip(pixels / 255 if high > 1 else pixels, 0, 1)
