"""Fonts for what the standard ones lack: words of a text may be in any script."""

import re
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache

from matplotlib import font_manager

# What systems bring along for Chinese, Japanese, Korean and for emoji that matplotlib can draw: outlines, no bitmaps.
FALLBACKS = (
    "Noto Sans Mono CJK SC", "Noto Sans CJK SC", "Noto Sans CJK JP", "Source Han Sans SC", "WenQuanYi Zen Hei",
    "WenQuanYi Micro Hei", "Droid Sans Fallback", "PingFang SC", "Hiragino Sans", "Apple SD Gothic Neo",
    "Microsoft YaHei", "Yu Gothic", "Malgun Gothic", "Noto Emoji", "Symbola", "Segoe UI Emoji",
)  # fmt: skip
_MISSING = re.compile(r"Glyph (\d+) .*missing from font")


@cache
def fonts(family: str, fallbacks: Sequence[str] = FALLBACKS) -> list[str]:
    """A family of matplotlib's, and after it those of the fallbacks that are installed."""
    installed = set(font_manager.get_font_names())
    return [family, *(name for name in fallbacks if name in installed)]


@contextmanager
def telling_what_is_missing(tell: Callable[[str], None]) -> Iterator[None]:
    """Says once which characters no font has, where matplotlib warns of each of them; other warnings pass."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        yield
    found = [(warning, _MISSING.match(str(warning.message))) for warning in caught]
    for warning in [warning for warning, match in found if match is None]:
        warnings.warn_explicit(warning.message, warning.category, warning.filename, warning.lineno)
    if missing := sorted({chr(int(match[1])) for _, match in found if match is not None}):
        tell(
            f"No installed font that matplotlib can draw has {' '.join(missing)}: boxes stand for them. Install one, "
            f"as {FALLBACKS[1]} or {FALLBACKS[-3]}, or write .html."
        )
