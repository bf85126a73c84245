"""The colours of relevance: blue against, white nothing, red for.

Blue and red differ for every kind of colour blindness, which green and red don't (Brewer's diverging schemes "RdBu";
Crameri et al. 2020, "The misuse of colour in science communication").
"""

from matplotlib.colors import LinearSegmentedColormap, to_hex

INK = "#1f2430"
FAINT = "#6b7280"
GRID = "#e6e9ef"
# The colour of no relevance is paper white; a thin frame keeps an empty border of a heatmap visible.
FRAME = "#c9ced8"
# An odd number of levels keeps 0 pure white.
COLORS = LinearSegmentedColormap.from_list(
    "relevance", ["#08306b", "#2b6cb0", "#9ecae1", "#ffffff", "#fcae91", "#d7301f", "#67000d"], N=257
)
FOR, AGAINST = COLORS(0.85), COLORS(0.15)
# Rec. 709 luma; backgrounds darker than this carry white text.
_LUMA = (0.2126, 0.7152, 0.0722)
_DARK = 0.5


def color_of(relevance: float, limit: float) -> str:
    """The colour of one amount, `#rrggbb`.

    Args:
        relevance: The amount.
        limit: The amount of full colour; what is beyond has it too. 0 colours everything white.
    """
    return to_hex(COLORS(0.5 if limit <= 0 else 0.5 + 0.5 * max(-1.0, min(1.0, relevance / limit))))


def ink_on(background: str) -> str:
    """Text that can be read on a background, `#rrggbb`."""
    parts = (int(background[place : place + 2], 16) / 255 for place in (1, 3, 5))
    luma = sum(weight * part for weight, part in zip(_LUMA, parts, strict=True))
    return "#ffffff" if luma < _DARK else INK
