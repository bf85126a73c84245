import numpy as np

from explain.render import Example, draw
from explain.render.bars import MAX_NAME
from explain.render.colors import AGAINST, FOR
from tests.explain.render.examples import row


def test_bars_show_the_strongest_features_first_with_their_values():
    axes = draw([row()]).axes[0]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["hours = 2.5", "gain = -3", "age = 1"]
    assert [patch.get_width() for patch in axes.patches] == [-2.0, 1.0, 0.1]
    assert axes.patches[0].get_facecolor() == AGAINST
    assert axes.patches[1].get_facecolor() == FOR


def test_bars_say_what_the_features_that_are_left_out_hold():
    relevance = np.arange(20, 0, -1.0)  # the 16 strongest: 20 .. 5; left out: 4 + 3 + 2 + 1 = 10
    axes = draw([Example(np.zeros(20), relevance, unit="logit")]).axes[0]
    assert axes.get_xlabel() == "relevance in logit (sum 210; 4 more hold 10)"


def test_bars_on_one_scale_end_at_its_limit():
    low, high = draw([row(limit=4.0)]).axes[0].get_xlim()
    assert (low, high) == (-4.2, 4.2)


def test_elements_without_a_name_or_value_are_numbered():
    labels = draw([Example(None, np.array([[1.0, 2.0]]), kind="bars", layer="dense")]).axes[0].get_yticklabels()
    assert [label.get_text() for label in labels] == ["[0, 1]", "[0, 0]"]


def test_long_names_are_shortened():
    label = draw([Example(np.ones(1), np.ones(1), names=("x" * 99,))]).axes[0].get_yticklabels()[0].get_text()
    assert label == f"{'x' * (MAX_NAME - 1)}\N{HORIZONTAL ELLIPSIS} = 1"
