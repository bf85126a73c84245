"""A layer with weights as a composite sees it, for tests that trace no model."""

from explain.composites import WeightedLayer


def layer(name="layer", kind="dense", types=("Dense",), *, position=1, count=3, first=False, last=False, within=()):
    return WeightedLayer(
        name, kind, frozenset({name, *within}), frozenset(types), position, position - count, first, last
    )
