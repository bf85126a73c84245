import warnings

import numpy as np
import pytest

from explain.render import draw, save
from explain.render.fonts import fonts, telling_what_is_missing
from tests.explain.render.examples import text

# A character that is assigned to nobody's script: private use, so that no font of a system has it.
PRIVATE = "\U0010fffd"


def test_the_fallbacks_that_are_installed_follow_the_family():
    assert fonts("monospace", ("No Such Font", "STIXGeneral")) == ["monospace", "STIXGeneral"]


def test_characters_that_no_font_has_are_told_once_and_in_words(tmp_path):
    told = []
    figure = draw([text(np.ones(2), ("good", PRIVATE + PRIVATE))])
    assert save(figure, tmp_path / "why.png", tell=told.append).is_file()  # warnings are errors here
    assert len(told) == 1
    assert told[0].startswith(f"No installed font that matplotlib can draw has {PRIVATE}: boxes stand for them.")


def test_nothing_is_told_where_nothing_is_missing(tmp_path):
    told = []
    save(draw([text()]), tmp_path / "why.png", tell=told.append)
    assert told == []


def test_other_warnings_pass():
    with pytest.warns(RuntimeWarning, match="of another kind"), telling_what_is_missing(print):
        warnings.warn("of another kind", RuntimeWarning, stacklevel=1)
