"""Pictures of explanations: an image beside its heatmap, or signed bars for tabular inputs.

Drawn with Figure objects on the Agg canvas, never through pyplot: no global state, no display, safe in threads.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import LinearSegmentedColormap, Normalize
from matplotlib.figure import Figure

MAX_BARS = 16
INK = "#1f2430"
FAINT = "#8a91a0"
# Seismic's order (blue against, white nothing, red for) with gentler ends; an odd number of levels keeps 0 pure white.
COLORS = LinearSegmentedColormap.from_list(
    "relevance", ["#08306b", "#2b6cb0", "#9ecae1", "#ffffff", "#fcae91", "#d7301f", "#67000d"], N=257
)
# The colour of no relevance is paper white; a thin frame keeps an empty border of the heatmap visible.
FRAME = "#c9ced8"
# The layout of image pairs, in inches.
PANEL = 1.45
PAIR_GAP = 0.07
CELL_GAP = 0.38
TITLE = 0.42
HEADING = 0.5
MARGIN = 0.2
COLORBAR = 0.95


@dataclass(frozen=True)
class Example:
    """One explained input.

    Args:
        values: The input as the model received it, without the batch axis: `(height, width)`,
            `(height, width, channels)` or `(features,)`, any numeric dtype.
        relevance: The relevance of each element, in the shape of `values`.
        title: What stands above the picture.
        names: Names of the features of a `(features,)` input; numbered when empty.
    """

    values: np.ndarray
    relevance: np.ndarray
    title: str = ""
    names: Sequence[str] = field(default_factory=tuple)

    def __post_init__(self) -> None:
        if self.values.shape != self.relevance.shape:
            raise ValueError(
                "`relevance` must have the shape of `values`, one number for each element of the input. "
                f"Received: values of shape {self.values.shape}, relevance of shape {self.relevance.shape}"
            )
        if self.names and (self.values.ndim != 1 or len(self.names) != self.values.size):
            raise ValueError(
                "`names` must name each feature of a one-dimensional input. "
                f"Received: {len(self.names)} names for values of shape {self.values.shape}"
            )


def title(
    predicted: str, probability: float | None = None, *, true: str | None = None, gap: float | None = None
) -> str:
    """The line above a picture, as in "predicted 3 (99.1 %), true 3, gap 0.02".

    Args:
        predicted: Label of the predicted class, or the predicted value.
        probability: Probability of the prediction in [0, 1], where the model gives one.
        true: The true label, where it is known.
        gap: Explained value minus the sum of relevance.

    Returns:
        One line of text.
    """
    parts = [f"predicted {predicted}" + ("" if probability is None else f" ({100 * probability:.1f} %)")]
    if true is not None:
        parts.append(f"true {true}")
    if gap is not None:
        parts.append(f"gap {gap:.2g}")
    return ", ".join(parts)


def is_image(shape: tuple[int, ...]) -> bool:
    """Whether an input of this shape (without the batch axis) is drawn as an image."""
    plane = shape[:2]
    return len(shape) in (2, 3) and min(plane) >= 2 and (len(shape) == 2 or shape[2] in (1, 3, 4))


def heatmap(relevance: np.ndarray) -> np.ndarray:
    """Relevance as it is coloured: channels summed, divided by the largest magnitude.

    Args:
        relevance: `(height, width)` or `(height, width, channels)`.

    Returns:
        `(height, width) float64` in [-1, 1]; zeros stay zeros, so that 0 is white and the sign is the colour.
    """
    plane = np.asarray(relevance, np.float64)
    if plane.ndim == 3:
        plane = plane.sum(axis=2)
    largest = float(np.max(np.abs(plane), initial=0.0))
    return plane / largest if largest > 0 else plane


def draw(examples: Sequence[Example], *, columns: int = 3, heading: str = "") -> Figure:
    """Draws explained inputs in a grid: images beside heatmaps, everything else as signed bars.

    Args:
        examples: What to draw, at least one.
        columns: Pictures in a row, at most; 1 or more.
        heading: A line above the whole picture.

    Returns:
        A Figure; write it with `save`.

    Raises:
        ValueError: There is nothing to draw.
    """
    if not examples:
        raise ValueError("Expected at least one example to draw. Received: an empty sequence")
    if columns < 1:
        raise ValueError(f"`columns` must be 1 or more. Received: columns={columns}")
    columns = min(columns, len(examples))
    if all(is_image(example.values.shape) for example in examples):
        return _draw_images(examples, columns, heading)
    return _draw_all_bars(examples, columns, heading)


def save(figure: Figure, path: Path, *, dpi: int = 110) -> Path:
    """Writes the figure; the suffix of `path` chooses the format (png, svg, pdf, jpg).

    Args:
        figure: What `draw` returned.
        path: Where to; the folder is made when it is missing.
        dpi: Pixels an inch.

    Returns:
        The path.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=dpi)
    return path


def _draw_images(examples: Sequence[Example], columns: int, heading: str) -> Figure:
    """Pairs of image and heatmap, placed in inches, so that one pair and thirty look alike; then a colour bar."""
    height, width = examples[0].values.shape[:2]
    panel = PANEL * min(max(width / height, 0.5), 2.5)  # width of one panel
    cell_width = 2 * panel + PAIR_GAP + CELL_GAP
    cell_height = PANEL + TITLE
    rows = math.ceil(len(examples) / columns)
    grid_height = rows * cell_height
    size = (cell_width * columns + COLORBAR, grid_height + MARGIN + (HEADING if heading else 0.0))
    figure = Figure(figsize=size, facecolor="white")
    if heading:
        _write(figure, (size[0] / 2, size[1] - 0.34), heading, fontsize=14, fontweight="bold")
    for index, example in enumerate(examples):
        left = MARGIN + index % columns * cell_width
        bottom = MARGIN + grid_height - (index // columns + 1) * cell_height
        _write(figure, (left + panel + PAIR_GAP / 2, bottom + PANEL + 0.12), example.title, fontsize=10)
        image = _axes(figure, left, bottom, panel, PANEL)
        image.imshow(_displayable(example.values), cmap="gray_r", interpolation="nearest", aspect="auto")
        colored = _axes(figure, left + panel + PAIR_GAP, bottom, panel, PANEL)
        colored.imshow(heatmap(example.relevance), cmap=COLORS, vmin=-1, vmax=1, interpolation="nearest", aspect="auto")
        for axes in (image, colored):
            _frame(axes)
    bar_height = min(grid_height - TITLE, 2.6)
    bottom = MARGIN + (grid_height - TITLE - bar_height) / 2
    _draw_colorbar(figure, _axes(figure, columns * cell_width + 0.05, bottom, 0.13, bar_height))
    return figure


def _axes(figure: Figure, left: float, bottom: float, width: float, height: float) -> Axes:
    """Axes at a place given in inches."""
    page_width, page_height = figure.get_size_inches()
    return figure.add_axes((left / page_width, bottom / page_height, width / page_width, height / page_height))


def _write(figure: Figure, at: tuple[float, float], text: str, **style: Any) -> None:
    """Text centred on a place given in inches."""
    page_width, page_height = figure.get_size_inches()
    figure.text(at[0] / page_width, at[1] / page_height, text, ha="center", va="baseline", color=INK, **style)


def _displayable(values: np.ndarray) -> np.ndarray:
    """Gray `(height, width)` as it is; colours `(height, width, 3 or 4)` as [0, 1], from 0..255 where they exceed 1."""
    pixels = np.asarray(values, np.float64)
    if pixels.ndim == 3 and pixels.shape[2] == 1:
        return pixels[:, :, 0]
    if pixels.ndim == 2:
        return pixels
    return np.clip(pixels / 255 if pixels.max(initial=0.0) > 1 else pixels, 0, 1)


def _frame(axes: Axes) -> None:
    axes.set_xticks([])
    axes.set_yticks([])
    _frame_color(axes)


def _frame_color(axes: Axes) -> None:
    for spine in axes.spines.values():
        spine.set_color(FRAME)
        spine.set_linewidth(0.8)


def _draw_all_bars(examples: Sequence[Example], columns: int, heading: str) -> Figure:
    rows = math.ceil(len(examples) / columns)
    bars = max(min(example.values.size, MAX_BARS) for example in examples)
    size = (5.4 * columns, (0.27 * bars + 0.95) * rows + (HEADING if heading else 0.0))
    figure = Figure(figsize=size, facecolor="white", layout="constrained")
    figure.get_layout_engine().set(h_pad=0.1, w_pad=0.1)  # type: ignore[union-attr, call-arg]
    if heading:
        figure.suptitle(heading, fontsize=14, color=INK, fontweight="bold")
    panels = figure.subplots(rows, columns, squeeze=False)
    for axes in panels.flat[len(examples) :]:
        axes.set_visible(False)
    for axes, example in zip(panels.flat, examples, strict=False):
        axes.set_title(example.title, fontsize=10, color=INK)
        _draw_bars(axes, example)
    return figure


def _draw_bars(axes: Axes, example: Example) -> None:
    """The strongest features, the strongest on top; red speaks for the explained output, blue against it."""
    relevance = np.asarray(example.relevance, np.float64).ravel()
    values = np.asarray(example.values).ravel()
    names = list(example.names) or [str(list(index)) for index in np.ndindex(example.values.shape)]
    order = np.argsort(-np.abs(relevance), kind="stable")[:MAX_BARS]
    shown = relevance[order]
    axes.barh(range(len(order)), shown, color=[COLORS(0.85) if r >= 0 else COLORS(0.15) for r in shown], height=0.72)
    axes.axvline(0, color=FAINT, linewidth=0.8)
    axes.set_yticks(range(len(order)), [f"{names[index]} = {_number(values[index])}" for index in order])
    axes.set_ylim(len(order) - 0.4, -0.6)
    axes.tick_params(axis="both", labelsize=8.5, labelcolor=INK, length=0)
    axes.set_xlabel(_bars_label(relevance, shown), fontsize=8.5, color=FAINT)
    axes.grid(axis="x", color="#e6e9ef", linewidth=0.8)
    axes.set_axisbelow(True)
    for spine in axes.spines.values():
        spine.set_visible(False)


def _bars_label(relevance: np.ndarray, shown: np.ndarray) -> str:
    hidden = relevance.size - shown.size
    rest = f"; {hidden} more features hold {relevance.sum() - shown.sum():.3g}" if hidden else ""
    return f"relevance (sum {relevance.sum():.3g}{rest})"


def _number(value: object) -> str:
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    return f"{value:.4g}" if isinstance(value, (int, float, np.number)) else str(value)


def _draw_colorbar(figure: Figure, axes: Axes) -> None:
    bar = figure.colorbar(ScalarMappable(Normalize(-1, 1), COLORS), cax=axes)
    bar.set_ticks([-1, 0, 1], labels=["against", "0", "for"])
    axes.tick_params(labelsize=9, labelcolor=INK, length=0)
    axes.set_title("relevance", fontsize=9, color=INK, loc="left", pad=14)
    _frame_color(axes)
