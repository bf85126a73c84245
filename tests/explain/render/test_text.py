import re

import numpy as np
import pytest
from matplotlib.colors import to_hex

from explain.render import Example, draw
from explain.render.colors import color_of
from explain.render.text import terminal_text, text_html
from tests.explain.render.examples import WORDS, text

COLORS = [color_of(amount, 1.0) for amount in (-0.5, 0.0, 1.0, 0.25)]


def test_the_picture_has_each_token_on_its_colour():
    axes = draw([text()]).axes[0]
    assert [one.get_text() for one in axes.texts] == list(WORDS)
    assert [to_hex(patch.get_facecolor()) for patch in axes.patches] == COLORS


def test_long_texts_are_broken_into_lines_within_the_panel():
    words = [f"word{number}" for number in range(60)]
    axes = draw([text(np.ones(60), words)]).axes[0]
    rows = {round(one.get_position()[1], 3) for one in axes.texts}
    assert len(rows) > 3
    assert all(0 <= patch.get_x() <= patch.get_x() + patch.get_width() <= axes.get_xlim()[1] for patch in axes.patches)


def test_a_token_longer_than_a_line_is_shortened_within_the_panel():
    axes = draw([text(np.ones(3), ("a", "x" * 90, "\N{CJK UNIFIED IDEOGRAPH-5F71}" * 90))]).axes[0]
    shown = [one.get_text() for one in axes.texts]
    assert [word[0] + word[-1] for word in shown[1:]] == ["x\N{HORIZONTAL ELLIPSIS}", "\u5f71\N{HORIZONTAL ELLIPSIS}"]
    assert len(shown[1]) > 1.9 * len(shown[2]) > 40  # an ideograph takes two places
    assert all(0 <= patch.get_x() <= patch.get_x() + patch.get_width() <= axes.get_xlim()[1] for patch in axes.patches)


def test_html_escapes_tokens_and_titles_and_loads_nothing():
    page = text_html([Example(np.arange(4), np.ones(4), "<script>why</script>", WORDS, "text")], heading="a & <b>")
    assert "&lt;b&gt;film&lt;/b&gt;" in page
    assert "&lt;script&gt;why" in page
    assert "<title>a &amp; &lt;b&gt;</title>" in page
    assert not re.search(r"<script|<b>film|https?://|src=|href=|url\(", page)


def test_html_has_each_token_on_its_colour_with_its_amount():
    page = text_html([text(unit="logit")])
    marks = re.findall(r'<mark style="background:(#\w+);color:#\w+" title="([^"]+)">', page)
    assert [color for color, _ in marks] == COLORS
    assert [float(amount) for _, amount in marks] == [-0.5, 0.0, 1.0, 0.25]
    assert page.count("</mark> logit</p>") == 1


def test_the_terminal_has_each_token_on_its_colour():
    shown = terminal_text(text())
    assert shown.plain == " not  a  great  <b>film</b> "
    assert [span.style.split(" on ")[1] for span in shown.spans] == COLORS


def test_tokens_without_words_are_their_ids():
    assert terminal_text(Example(np.array([7, 9]), np.ones(2), kind="text")).plain == " 7  9 "


def test_what_is_no_text_is_refused():
    with pytest.raises(ValueError, match=r"A text must be of shape.*\(2, 2\)"):
        text_html([Example(np.zeros((2, 2)), np.zeros((2, 2)), kind="text")])
