"""Pictures of explanations: images beside heatmaps, signed bars, highlighted text, time series, graphs.

Drawn with Figure objects on the Agg canvas, never through pyplot: no global state, no display, safe in threads.
"""

from explain.render.colors import COLORS, color_of
from explain.render.example import KINDS, Edges, Example, is_image, kind_of, title
from explain.render.images import heatmap
from explain.render.page import draw, save

__all__ = [
    "COLORS",
    "KINDS",
    "Edges",
    "Example",
    "color_of",
    "draw",
    "heatmap",
    "is_image",
    "kind_of",
    "save",
    "title",
]
