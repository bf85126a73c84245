"""Explained inputs of every kind, for the tests of the pictures."""

import numpy as np

from explain.render import Edges, Example

WORDS = ("not", "a", "great", "<b>film</b>")


def image(shape=(6, 6), seed=0, **options):
    generator = np.random.default_rng(seed)
    return Example(generator.uniform(0, 255, shape), generator.normal(size=shape), "predicted 3", **options)


def row(relevance=(0.1, -2.0, 1.0), **options):
    values = np.array([1.0, 2.5, -3.0])
    return Example(values, np.array(relevance), "why", ("age", "hours", "gain"), **options)


def text(relevance=(-0.5, 0.0, 1.0, 0.25), words=WORDS, **options):
    ids = np.arange(len(words))
    return Example(ids, np.array(relevance), "why", words, "text", **options)


def series(**options):
    values = np.stack([np.arange(5.0), np.array([1.0, 3.0, 2.0, 5.0, 4.0])], axis=1)
    relevance = np.zeros((5, 2))
    relevance[2] = (-2.0, 1.0)
    return Example(values, relevance, "why", ("speed", "pressure"), **options)


def graph(edge_relevance=None, **options):
    """A path of four nodes with two features each."""
    edges = Edges(np.array([[0, 1], [1, 2], [2, 3]]), edge_relevance)
    relevance = np.array([[1.0, 1.0], [0.0, -1.0], [0.5, -0.5], [0.0, 0.0]])
    return Example(np.ones((4, 2)), relevance, "why", kind="graph", edges=edges, **options)
