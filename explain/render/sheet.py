"""A page whose parts are placed in inches, so that one picture and thirty look alike."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

from explain.render.colors import COLORS, FRAME, INK
from explain.render.fonts import fonts

# A colour bar with its labels, in inches: the space before it, its own width, and that of its numbers.
BAR_GAP, BAR, BAR_LABELS = 0.08, 0.09, 0.44
COLORBAR = BAR_GAP + BAR + BAR_LABELS
_MAX_BAR_HEIGHT = 1.9
MAX_UNIT = 13  # characters
ELLIPSIS = "\N{HORIZONTAL ELLIPSIS}"
_BAR_TITLE = 0.2


@dataclass(frozen=True)
class Sheet:
    """A figure of a fixed size; all places are in inches from its lower left corner."""

    figure: Figure

    def axes(self, left: float, bottom: float, width: float, height: float) -> Axes:
        """Axes at a place."""
        page_width, page_height = self.figure.get_size_inches()
        return self.figure.add_axes((left / page_width, bottom / page_height, width / page_width, height / page_height))

    def write(self, left: float, bottom: float, text: str, **style: Any) -> None:
        """Text at a place, centred unless the style says otherwise."""
        page_width, page_height = self.figure.get_size_inches()
        options = {"ha": "center", "va": "baseline", "color": INK, "family": fonts("sans-serif"), **style}
        self.figure.text(left / page_width, bottom / page_height, text, **options)

    def colorbar(self, left: float, bottom: float, height: float, *, limit: float, unit: str) -> None:
        """A colour bar from -limit to limit, its unit above it, at the top of a space of this height.

        Args:
            left: Where the space begins that it shares with its labels, `COLORBAR` wide.
            bottom: Lower end of that space.
            height: Its height.
            limit: The amount of full colour.
            unit: What relevance is measured in.
        """
        shown = min(height - _BAR_TITLE, _MAX_BAR_HEIGHT)
        axes = self.axes(left + BAR_GAP, bottom + (height - _BAR_TITLE - shown) / 2, BAR, shown)
        end = limit or 1.0
        bar = self.figure.colorbar(ScalarMappable(Normalize(-end, end), COLORS), cax=axes)
        bar.set_ticks([-end, 0, end], labels=[amount(-limit), "0", amount(limit)])
        axes.tick_params(labelsize=7.5, labelcolor=INK, length=0, pad=2)
        axes.set_title(_shortened(unit or "relevance"), fontsize=7.5, color=INK, loc="left", pad=5)
        frame_color(axes)


@dataclass(frozen=True)
class Panel:
    """One picture of a page: its size in inches, and what draws it with its lower left corner at a place."""

    width: float
    height: float
    paint: Callable[[Sheet, float, float], None]


def _shortened(unit: str) -> str:
    """The unit as it fits over the bar: outputs of strangers' models have names of any length."""
    return unit if len(unit) <= MAX_UNIT else f"{unit[: MAX_UNIT - 1]}{ELLIPSIS}"


def amount(value: float) -> str:
    """An amount of relevance with its sign, as in "+1.2"."""
    return "0" if value == 0 else f"{value:+.2g}"


def frame(axes: Axes) -> None:
    """No ticks, and a thin frame."""
    axes.set_xticks([])
    axes.set_yticks([])
    frame_color(axes)


def frame_color(axes: Axes) -> None:
    """A thin frame."""
    for spine in axes.spines.values():
        spine.set_color(FRAME)
        spine.set_linewidth(0.8)
