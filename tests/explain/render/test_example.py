import numpy as np
import pytest

from explain.render import Example, is_image, kind_of, title
from explain.render.example import largest
from tests.explain.render.examples import graph, image, row


def test_title_reads_as_one_line():
    assert title("3", 0.9912, true="3", gap=0.0213) == "predicted 3 (99.1 %), true 3, gap 0.021"


def test_title_leaves_out_what_is_not_known():
    assert title("17.5") == "predicted 17.5"


def test_title_says_what_is_explained_with_value_unit_and_gap():
    lines = title("5", 0.9, true="3", gap=0.02, explained="3 rather than 5", value=-1.234, unit="logit")
    assert lines == "why 3 rather than 5: -1.23 logit, gap 0.02\npredicted 5 (90.0 %), true 3"


def test_title_of_a_regression_is_one_line():
    assert title("", gap=0.1, explained="price", value=17.5) == "why price: 17.5, gap 0.1"


@pytest.mark.parametrize(
    ("shape", "kind"),
    [
        ((8, 8), "image"),
        ((8, 8, 1), "image"),
        ((8, 6, 3), "image"),
        ((8, 8, 5), "bars"),
        ((30,), "bars"),
        ((1, 30), "bars"),
        ((30, 4), "series"),
        ((4, 8, 8, 3), "bars"),
    ],
)
def test_the_kind_is_told_by_the_shape(shape, kind):
    assert kind_of(shape) == kind
    assert is_image(shape) is (kind == "image")


def test_relevance_of_another_shape_is_refused():
    with pytest.raises(ValueError, match=r"shape of `values`.*\(2, 2\).*\(2, 3\)"):
        Example(np.zeros((2, 2)), np.zeros((2, 3)))


def test_relevance_at_a_layer_may_have_any_shape():
    assert Example(np.zeros((4, 4)), np.zeros((2, 2, 7)), layer="pooling").full == 0.0


def test_names_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="2 names"):
        Example(np.zeros(3), np.zeros(3), names=("a", "b"))


def test_an_unknown_kind_is_refused():
    with pytest.raises(ValueError, match=r"one of image, bars, text, series, graph. Received: kind='pie'"):
        Example(np.zeros(3), np.zeros(3), kind="pie")


def test_full_colour_is_the_largest_amount_that_is_drawn():
    assert row().full == 2.0
    assert row(limit=5.0).full == 5.0
    two_channels = Example(np.zeros((2, 2, 3)), np.full((2, 2, 3), -0.5))
    assert two_channels.full == 1.5  # channels are summed: 3 * 0.5
    assert largest(graph()) == 2.0  # features are summed: 1 + 1
    assert largest(graph(np.array([0.0, -3.0, 1.0]))) == 3.0  # edges share the nodes' scale
    assert image().full == np.abs(image().relevance).max()
