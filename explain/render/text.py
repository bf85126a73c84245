"""Text with highlighted tokens: as a picture, as HTML and in the terminal."""

import html
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.patches import Rectangle
from rich.cells import cell_len, set_cell_size

from explain.render.colors import color_of, ink_on
from explain.render.example import Example
from explain.render.fonts import fonts
from explain.render.sheet import COLORBAR, ELLIPSIS, Panel, Sheet, amount

if TYPE_CHECKING:
    from rich.text import Text

WIDTH = 5.6
LINE = 0.3
FONT = 9.5
CHARACTER = 0.602 * FONT / 72  # width of a character of DejaVu Sans Mono, in inches
MIN_HEIGHT = 1.0
_LINE_CELLS = int(WIDTH / CHARACTER - 0.9)
_PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<title>{heading}</title>
<style>
body {{ font: 16px/2 system-ui, sans-serif; color: #1f2430; background: #ffffff; max-width: 50em; margin: 2em auto; }}
h1 {{ font-size: 1.2em; }} h2 {{ font-size: 0.95em; line-height: 1.4; white-space: pre-line; margin: 2em 0 0.4em; }}
mark {{ padding: 0.12em 0.25em; border-radius: 0.25em; }}
p.scale {{ font-size: 0.8em; }} p.scale mark {{ padding: 0.12em 0.7em; border-radius: 0; }}
</style>
</head>
<body>
<h1>{heading}</h1>
{body}
</body>
</html>
"""


def tokens_of(example: Example) -> list[tuple[str, float]]:
    """Each token with its relevance, in the order of the text."""
    relevance = np.asarray(example.relevance, np.float64)
    if relevance.ndim != 1:
        raise ValueError(
            f"A text must be of shape (length,), a token id each. Received: relevance of shape {relevance.shape}. "
            "Draw it in another way (`--as bars`)."
        )
    ids = example.values if example.values is not None else np.arange(len(relevance))
    names = example.names if len(example.names) == len(relevance) else [str(index) for index in ids.tolist()]
    return list(zip(map(str, names), relevance.tolist(), strict=True))


def text_panel(example: Example) -> Panel:
    """The tokens in lines, each on the colour of its relevance."""
    lines = _lines(tokens_of(example))
    height = max(LINE * len(lines), MIN_HEIGHT)

    def paint(sheet: Sheet, left: float, bottom: float) -> None:
        axes = sheet.axes(left, bottom, WIDTH, height)
        axes.set_xlim(0, WIDTH)
        axes.set_ylim(0, height)
        axes.set_axis_off()
        for number, line in enumerate(lines):
            middle, x = height - (number + 0.5) * LINE, 0.0
            for token, relevance in line:
                width = CHARACTER * (cell_len(token) + 0.6)
                color = color_of(relevance, example.full)
                axes.add_patch(Rectangle((x, middle - 0.115), width, 0.23, facecolor=color, linewidth=0))
                axes.text(
                    x + width / 2, middle, token.replace("$", r"\$"), ha="center", va="center_baseline",
                    fontsize=FONT, family=fonts("monospace"), color=ink_on(color),
                )  # fmt: skip
                x += width + 0.3 * CHARACTER
        sheet.colorbar(left + WIDTH, bottom, height, limit=example.full, unit=example.unit)

    return Panel(WIDTH + COLORBAR, height, paint)


def text_html(examples: Sequence[Example], *, heading: str = "Why") -> str:
    """A page of its own with every text, each token on the colour of its relevance; nothing is loaded from elsewhere.

    Args:
        examples: Texts.
        heading: The page's title.
    """
    body = "\n".join(_html_of(example) for example in examples)
    return _PAGE.format(heading=html.escape(heading), body=body)


def terminal_text(example: Example) -> "Text":
    """The tokens for a terminal, each on the colour of its relevance."""
    from rich.text import Text

    text = Text()
    for token, relevance in tokens_of(example):
        color = color_of(relevance, example.full)
        text.append(f" {token} ", style=f"{ink_on(color)} on {color}")
    return text


def _lines(tokens: list[tuple[str, float]]) -> list[list[tuple[str, float]]]:
    """The tokens broken into lines of `WIDTH`; one that is longer than a line is shortened."""
    lines: list[list[tuple[str, float]]] = [[]]
    used = 0.0
    for token, relevance in tokens:
        shown = token if cell_len(token) <= _LINE_CELLS else f"{set_cell_size(token, _LINE_CELLS - 1)}{ELLIPSIS}"
        width = CHARACTER * (cell_len(shown) + 0.9)
        if lines[-1] and used + width > WIDTH:
            lines.append([])
            used = 0.0
        lines[-1].append((shown, relevance))
        used += width
    return lines


def _html_of(example: Example) -> str:
    marks = " ".join(_mark(token, relevance, example) for token, relevance in tokens_of(example))
    scale = " ".join(
        _colored(amount(part * example.full), part * example.full, example.full) for part in (-1, -0.5, 0, 0.5, 1)
    )
    unit = f" {html.escape(example.unit)}" if example.unit else ""
    return f'<h2>{html.escape(example.title)}</h2>\n<p>{marks}</p>\n<p class="scale">{scale}{unit}</p>'


def _mark(token: str, relevance: float, example: Example) -> str:
    return _colored(html.escape(token), relevance, example.full, f' title="{relevance:+.4g}"')


def _colored(content: str, relevance: float, limit: float, attributes: str = "") -> str:
    color = color_of(relevance, limit)
    return f'<mark style="background:{color};color:{ink_on(color)}"{attributes}>{content}</mark>'
