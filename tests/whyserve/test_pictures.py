import numpy as np
import pytest

from export.vocabulary import Vocabulary
from whyserve.asking import Explained, Reading
from whyserve.client.base import Answer, Attribution
from whyserve.errors import CommandError
from whyserve.inputs.fit import Examples
from whyserve.pictures import Wish, panels, write

CAT = Explained("cat", "logit", "logit", is_value=False)
READING = Reading("cat", 0.9, 0)


def drawn(inputs, relevance, *, wish=None, layers=None, what=CAT, **options):
    """The panels of one example; several relevances are several attributions."""
    relevances = relevance if isinstance(relevance, list) else [relevance]
    ones = [Attribution(0, "cat", 1.0, 0.25, each, output="y", layers=layers or {}) for each in relevances]
    batch = {name: np.asarray(array)[None] for name, array in inputs.items()}
    answer = Answer("m", 1, {"y": np.array([[0.9, 0.1]])}, [ones])
    (row,) = panels(answer, [READING], [[what] * len(ones)], Examples(batch, **options), wish or Wish())
    return row


def test_a_row_has_the_names_of_the_header_and_the_title_says_what_is_explained():
    (panel,) = drawn({"x": [39.0, 40.0]}, {"x": np.array([1.0, -2.0])}, feature_names=("age", "hours"), labels=("dog",))
    assert (panel.kind, panel.names, panel.unit) == ("bars", ("age", "hours"), "logit")
    assert panel.title == "why cat: 1 logit, gap 0.25\npredicted cat (90.0 %), true dog"


def test_a_regression_has_no_class_in_its_title():
    (panel,) = drawn({"x": [1.0]}, {"x": np.ones(1)}, what=Explained("price", "", "price", is_value=True))
    assert (panel.title, panel.unit) == ("why price: 1, gap 0.25", "price")


@pytest.mark.parametrize(
    ("shape", "asked", "kind"),
    [((8, 8, 1), "", "image"), ((20, 3), "", "series"), ((8, 8), "series", "series"), ((20, 3), "bars", "bars"),
     ((20,), "series", "series"), ((20,), "text", "text")],
)  # fmt: skip
def test_the_kind_is_told_by_the_shape_unless_another_is_asked_for(shape, asked, kind):
    (panel,) = drawn({"x": np.ones(shape, np.float32)}, {"x": np.ones(shape)}, wish=Wish(asked))
    assert panel.kind == kind


@pytest.mark.parametrize(
    ("values", "asked", "message"),
    [
        (np.ones(6), "image", r"An image needs .*\(height, width\).* Received: x, float64 of shape \(6,\)\."),
        (np.ones((8, 8, 1)), "series", r"A series needs .*Received: x, float64 of shape \(8, 8, 1\)\."),
        (np.ones((8, 8)), "text", r"A text needs token ids.*shape \(8, 8\)\."),
        (np.full(6, 0.5), "text", r"A text needs token ids, whole numbers .*Leave `--as text` out"),
    ],
)
def test_a_kind_that_fits_no_input_is_refused(values, asked, message):
    with pytest.raises(CommandError, match=message):
        drawn({"x": values}, {"x": np.ones(values.shape)}, wish=Wish(asked))


def test_inputs_that_a_kind_does_not_fit_keep_their_own():
    inputs = {"row": [0.5], "picture": np.ones((8, 8)), "ids": np.array([3.0, 4.0])}
    panels = drawn(inputs, {name: np.ones(np.shape(array)) for name, array in inputs.items()}, wish=Wish("text"))
    assert [panel.kind for panel in panels] == ["bars", "image", "text"]
    assert panels[2].names == ["3", "4"]


def test_token_ids_are_shown_as_words_without_the_padding():
    ids, relevance = np.array([2, 1, 3, 0, 0]), {"x": np.array([1.0, 2.0, 3.0, 0.0, 0.0])}
    words = Vocabulary(("", "[UNK]", "good", "film"))
    (panel,) = drawn({"x": ids}, relevance, wish=Wish(vocabulary=words))
    assert (panel.kind, list(panel.names), panel.relevance.tolist()) == ("text", ["good", "[UNK]", "film"], [1, 2, 3])
    (panel,) = drawn({"x": ids}, relevance, wish=Wish(vocabulary=words), words=(("good", "wow", "film"),))
    assert list(panel.names) == ["good", "wow", "film"]
    (panel,) = drawn({"x": ids}, relevance, wish=Wish("text"))
    assert list(panel.names) == ["2", "1", "3"]


def test_attributions_of_one_input_share_a_scale():
    relevance = [{"x": np.array([1.0, 0.0])}, {"x": np.array([0.0, -5.0])}]
    assert [panel.limit for panel in drawn({"x": [1.0, 2.0]}, relevance)] == [5.0, 5.0]


def test_several_inputs_have_a_panel_each_with_its_name():
    both = drawn({"a": [1.0], "b": np.ones((4, 4, 1))}, {"a": np.ones(1), "b": np.ones((4, 4, 1))})
    assert [(panel.kind, panel.title.split(":")[0]) for panel in both] == [("bars", "a"), ("image", "b")]


def test_an_adjacency_beside_nodes_makes_a_graph():
    adjacency = np.array([[0, 1, 0], [1, 0, 1], [0, 1, 0]], np.float32)
    inputs = {"nodes": np.ones((3, 2), np.float32), "a": adjacency}
    (panel,) = drawn(inputs, {"nodes": np.ones((3, 2)), "a": np.zeros((3, 3))})
    assert (panel.kind, panel.edges.pairs.tolist(), panel.edges.relevance) == ("graph", [[0, 1], [1, 2]], None)
    (panel,) = drawn(inputs, {"nodes": np.ones((3, 2)), "a": 2 * adjacency})
    assert panel.edges.relevance.tolist() == [4, 4]  # both directions
    assert [panel.kind for panel in drawn(inputs, {"nodes": np.ones((3, 2))}, wish=Wish("bars"))] == ["bars"]


def test_pairs_of_nodes_make_a_graph_and_padding_is_left_out():
    inputs = {
        "nodes": np.ones((3, 2), np.float32),
        "edges": np.array([[0, 1], [2, 1], [1, 1], [-1, -1]], np.int32),
        "weights": np.ones(4, np.float32),
    }
    relevance = {"nodes": np.ones((3, 2)), "edges": np.zeros((4, 2)), "weights": np.array([0.5, -1.0, 9.0, 9.0])}
    (panel,) = drawn(inputs, relevance)
    assert panel.edges.pairs.tolist() == [[0, 1], [2, 1]]
    assert panel.edges.relevance.tolist() == [0.5, -1.0]


def test_inputs_that_are_no_graph_are_refused_as_one():
    with pytest.raises(CommandError, match=r"A graph needs node features.*x, float64 of shape \(2,\)"):
        drawn({"x": [1.0, 2.0]}, {"x": np.ones(2)}, wish=Wish("graph"))


def test_a_feature_map_is_drawn_beside_the_image_with_its_own_gap():
    layers = {"pooling": np.full((2, 2, 3), 0.05), "dense": np.array([0.5, 0.25])}
    image, relevance = np.ones((4, 4, 1)), {"x": np.ones((4, 4, 1))}
    (panel,) = drawn({"x": image}, relevance, wish=Wish(layer="pooling"), layers=layers)
    assert (panel.kind, panel.layer, panel.values.shape) == ("image", "pooling", (4, 4, 1))
    assert panel.title.startswith("pooling: why cat: 1 logit, gap 0.4\n")  # 1 - 12 * 0.05
    (panel,) = drawn({"x": image}, relevance, wish=Wish(layer="dense"), layers=layers)
    assert (panel.kind, panel.values) == ("bars", None)


def test_a_layer_that_was_not_exported_is_refused_with_those_that_were():
    with pytest.raises(CommandError, match=r"one of pooling. Received: 'nope'"):
        drawn({"x": [1.0]}, {"x": np.ones(1)}, wish=Wish(layer="nope"), layers={"pooling": np.ones(1)})
    with pytest.raises(CommandError, match="export with `--relevance-at LAYER`"):
        drawn({"x": [1.0]}, {"x": np.ones(1)}, wish=Wish(layer="nope"))


def test_html_is_for_text_only(tmp_path):
    row = drawn({"x": [1.0, 2.0]}, {"x": np.ones(2)})
    with pytest.raises(CommandError, match=r"HTML is written of texts. Received: .*why.html for bars"):
        write(tmp_path / "why.html", [row], "m")
    text = drawn({"x": np.array([1, 2])}, {"x": np.ones(2)}, wish=Wish("text"))
    write(tmp_path / "new" / "why.html", [text], "m")
    assert "<mark" in (tmp_path / "new" / "why.html").read_text()


def test_panels_of_one_example_stand_side_by_side(tmp_path):
    relevance = [{"x": np.array([1.0, 0.0])}, {"x": np.array([0.0, -5.0])}]
    row = drawn({"x": [1.0, 2.0]}, relevance)
    write(tmp_path / "wide.svg", [row, row], "m")
    write(tmp_path / "narrow.svg", [row[:1]], "m")
    widths = [float((tmp_path / f"{n}.svg").read_text().split('width="')[1].split("pt")[0]) for n in ("wide", "narrow")]
    assert widths[0] > 1.9 * widths[1]
