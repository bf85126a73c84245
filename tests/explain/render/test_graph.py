import numpy as np
import pytest
from matplotlib.colors import to_hex

from explain.render import Edges, Example, draw
from explain.render.colors import color_of
from explain.render.graph import PLAIN, edges_of
from tests.explain.render.examples import graph


def test_nodes_have_the_colour_of_their_features_relevance():
    axes = draw([graph()]).axes[0]
    nodes = axes.collections[-1]
    sums = [2.0, -1.0, 0.0, 0.0]
    assert [to_hex(color) for color in nodes.get_facecolors()] == [color_of(amount, 2.0) for amount in sums]
    assert [text.get_text() for text in axes.texts] == ["0", "1", "2", "3"]


def test_the_layout_is_the_same_each_time_and_edges_join_their_nodes():
    first, second = (draw([graph()]).axes[0] for _ in range(2))
    places = first.collections[-1].get_offsets()
    np.testing.assert_array_equal(places, second.collections[-1].get_offsets())
    (lines,) = first.collections[:-1]
    for line, (a, b) in zip(lines.get_segments(), [(0, 1), (1, 2), (2, 3)], strict=True):
        np.testing.assert_allclose(line, [places[a], places[b]])
    assert to_hex(lines.get_colors()[0]) == PLAIN


def test_edges_with_relevance_are_coloured_on_the_scale_of_the_nodes():
    amounts = np.array([0.0, -4.0, 1.0])
    axes = draw([graph(amounts)]).axes[0]
    _, colored, _ = axes.collections
    assert [to_hex(color) for color in colored.get_colors()] == [color_of(amount, 4.0) for amount in amounts]


def test_what_is_not_joined_leaves_the_rest_its_room():
    """Twelve nodes that are all joined and one that isn't: the twelve fill most of the picture, and none overlap."""
    pairs = np.argwhere(np.triu(np.ones((12, 12)), k=1))
    example = Example(np.ones((13, 1)), np.ones((13, 1)), kind="graph", edges=Edges(pairs))
    places = np.asarray(draw([example]).axes[0].collections[-1].get_offsets())
    assert (np.ptp(places[:12], axis=0) > 0.6 * np.ptp(places, axis=0)).all()
    apart = np.linalg.norm(places[:, None] - places[None], axis=-1) + 9 * np.eye(13)
    assert apart.min() > 0.08 * np.ptp(places, axis=0).max()


def test_nodes_without_edges_stand_in_rows():
    example = Example(np.ones((9, 1)), np.ones((9, 1)), kind="graph", edges=Edges(np.zeros((0, 2), int)))
    places = np.asarray(draw([example]).axes[0].collections[-1].get_offsets())
    assert [len(np.unique(axis)) for axis in places.T] == [3, 3]


def test_an_adjacency_gives_each_edge_once_and_no_loops():
    adjacency = np.array([[1.0, 0.5, 0.0], [0.5, 1.0, 0.0], [0.0, 2.0, 0.0]])
    edges = edges_of(adjacency)
    assert edges.pairs.tolist() == [[0, 1], [1, 2]]
    assert edges.relevance is None
    relevance = np.arange(9.0).reshape(3, 3)  # of 0-1: 1 + 3, of 1-2: 5 + 7
    assert edges_of(adjacency, relevance).relevance.tolist() == [4.0, 12.0]
    assert edges_of(adjacency, np.zeros((3, 3))).relevance is None


def test_large_graphs_have_no_labels():
    pairs = np.stack([np.arange(59), np.arange(1, 60)], axis=1)
    example = Example(np.ones((60, 1)), np.ones((60, 1)), kind="graph", edges=Edges(pairs))
    assert len(draw([example]).axes[0].texts) == 0


def test_a_graph_without_edges_is_refused():
    with pytest.raises(ValueError, match=r"A graph must have edges.*--as bars"):
        draw([Example(np.ones((4, 2)), np.ones((4, 2)), kind="graph")])
