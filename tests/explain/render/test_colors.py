import numpy as np
import pytest
from matplotlib.colors import to_hex, to_rgb

from explain.render.colors import AGAINST, COLORS, FOR, INK, color_of, ink_on

# Machado et al. 2009, "A physiologically-based model for simulation of color vision deficiency": severity 1.
DEFICIENCIES = {
    "protanopia": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "deuteranopia": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
    "tritanopia": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]],
}


def test_no_relevance_is_white_and_signs_are_red_and_blue():
    assert to_hex(COLORS(0.5)) == "#ffffff"
    assert FOR[0] > FOR[2]
    assert AGAINST[2] > AGAINST[0]


@pytest.mark.parametrize("deficiency", DEFICIENCIES)
def test_for_and_against_differ_for_the_colour_blind(deficiency):
    """By far more than the eye's limit; red and green of equal lightness come out near 0."""
    linear = np.array([to_rgb(FOR), to_rgb(AGAINST)]) ** 2.2
    seen = np.clip(linear @ np.array(DEFICIENCIES[deficiency]).T, 0, 1) ** (1 / 2.2)
    assert np.abs(seen[0] - seen[1]).max() > 0.3


def test_amounts_have_the_colour_of_their_part_of_the_limit():
    assert color_of(0.0, 2.0) == "#ffffff"
    assert color_of(2.0, 2.0) == color_of(9.0, 2.0) == to_hex(COLORS(1.0))
    assert color_of(-1.0, 2.0) == to_hex(COLORS(0.25))
    assert color_of(0.0, 0.0) == "#ffffff"


def test_text_can_be_read_on_every_colour():
    assert ink_on("#ffffff") == INK
    assert ink_on(color_of(1.0, 1.0)) == ink_on(color_of(-1.0, 1.0)) == "#ffffff"
