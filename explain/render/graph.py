"""A graph whose nodes, and edges where they have relevance, are coloured."""

import networkx as nx  # type: ignore[import-untyped]
import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection

from explain.render.colors import FAINT, INK, color_of, ink_on
from explain.render.example import Edges, Example, node_relevance
from explain.render.sheet import COLORBAR, Panel, Sheet

SIDE = 3.4
MAX_LABELS = 40
PLAIN = "#b6bcc8"
_SEED = 0  # the same graph is laid out in the same way
# Of the spring layout: the distance of nodes that are joined, in units of that of evenly spread ones, and its steps.
_DISTANCE, _ITERATIONS = 1.5, 200
_ROOM = 0.8  # what a component leaves free of its square, in units of the side of one node's


def graph_panel(example: Example) -> Panel:
    """Nodes where networkx' spring layout (Fruchterman and Reingold 1991) puts them, the same at every call."""
    if example.edges is None:
        raise ValueError(
            "A graph must have edges: an input of shape (nodes, nodes) or pairs of nodes beside the nodes' features. "
            "Received: none. Draw it in another way (`--as bars`)."
        )
    edges = example.edges
    relevance = node_relevance(example.relevance)
    places = _layout(len(relevance), edges)

    def paint(sheet: Sheet, left: float, bottom: float) -> None:
        axes = sheet.axes(left, bottom, SIDE, SIDE)
        _draw_edges(axes, edges, places, example.full)
        _draw_nodes(axes, example, relevance, places)
        axes.set_axis_off()
        axes.margins(0.08)
        sheet.colorbar(left + SIDE, bottom, SIDE, limit=example.full, unit=example.unit)

    return Panel(SIDE + COLORBAR, SIDE, paint)


def edges_of(adjacency: np.ndarray, relevance: np.ndarray | None = None) -> Edges:
    """The edges that an adjacency matrix holds, both directions of an edge as one.

    Args:
        adjacency: `(nodes, nodes)`, not zero where there is an edge; loops are left out.
        relevance: Of each of its elements, or None.

    Returns:
        The edges; the relevance of both directions summed, None where all of it is zero.
    """
    joined = (adjacency != 0) | (adjacency.T != 0)
    pairs = np.argwhere(np.triu(joined, k=1))
    if relevance is None or not np.any(relevance):
        return Edges(pairs)
    first, second = pairs[:, 0], pairs[:, 1]
    return Edges(pairs, relevance[first, second] + relevance[second, first])


def _layout(num_nodes: int, edges: Edges) -> np.ndarray:
    """Places of the nodes, `(nodes, 2)`: each component by itself in a square with room for its nodes.

    One layout of all would push what isn't joined far apart, and squeeze the rest.
    """
    graph = nx.Graph()
    graph.add_nodes_from(range(num_nodes))
    graph.add_edges_from((int(a), int(b)) for a, b in edges.pairs if a != b)
    components = sorted(nx.connected_components(graph), key=len, reverse=True)
    sides = [float(np.sqrt(len(component))) for component in components]
    places = np.zeros((num_nodes, 2))
    for component, corner, side in zip(components, _squares(sides), sides, strict=True):
        nodes = sorted(component)
        own = nx.spring_layout(graph.subgraph(nodes), seed=_SEED, k=_DISTANCE / side, iterations=_ITERATIONS)
        places[nodes] = corner + _ROOM / 2 + _filling(np.array([own[node] for node in nodes])) * (side - _ROOM)
    return places


def _filling(places: np.ndarray) -> np.ndarray:
    """Places stretched to all of [0, 1] on either axis; what has no extent lies in the middle."""
    low, extent = places.min(axis=0), np.ptp(places, axis=0)
    return np.where(extent > 0, (places - low) / np.where(extent > 0, extent, 1), 0.5)


def _squares(sides: list[float]) -> list[np.ndarray]:
    """Lower left corners of squares, largest first, in rows that together are about as wide as high."""
    width = max(max(sides, default=0.0), float(np.ceil(np.sqrt(np.square(sides).sum()))))
    corners, left, bottom, height = [], 0.0, 0.0, 0.0
    for side in sides:
        if left > 0 and left + side > width:
            left, bottom = 0.0, bottom + height
            height = 0.0
        corners.append(np.array([left, bottom]))
        left, height = left + side, max(height, side)
    return corners


def _draw_edges(axes: Axes, edges: Edges, places: np.ndarray, limit: float) -> None:
    """Under a coloured edge lies a darker line, or one of little relevance would vanish on the paper."""
    lines = places[edges.pairs]  # (edges, 2, 2)
    axes.add_collection(LineCollection(list(lines), colors=PLAIN, linewidths=1.0 if edges.relevance is None else 3.4))
    if edges.relevance is not None:
        colors = [color_of(float(amount), limit) for amount in edges.relevance]
        axes.add_collection(LineCollection(list(lines), colors=colors, linewidths=2.6))


def _draw_nodes(axes: Axes, example: Example, relevance: np.ndarray, places: np.ndarray) -> None:
    labeled = len(relevance) <= MAX_LABELS
    colors = [color_of(float(amount), example.full) for amount in relevance]
    size = 260 if labeled else 40
    axes.scatter(places[:, 0], places[:, 1], s=size, c=colors, edgecolors=FAINT, linewidths=0.8, zorder=3)
    if not labeled:
        return
    names = example.names if len(example.names) == len(relevance) else [str(node) for node in range(len(relevance))]
    for (x, y), name, color in zip(places, names, colors, strict=True):
        ink = ink_on(color) if len(name) <= 3 else INK
        axes.text(x, y, name, ha="center", va="center", fontsize=7.5, color=ink, zorder=4)
