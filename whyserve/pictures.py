"""From answers to pictures: which input of an explained example is drawn in which way."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from export.vocabulary import Vocabulary
from whyserve.asking import Explained, Reading
from whyserve.client.base import Answer, Attribution
from whyserve.errors import CommandError
from whyserve.inputs.fit import Examples
from whyserve.output import progress

if TYPE_CHECKING:
    from explain.render import Edges, Example

TEXT_SUFFIXES = (".html", ".htm")
# Ranks that each kind of picture has, without the batch axis, in words too; bars take any.
_RANKS = {"image": (2, 3), "series": (1, 2), "text": (1,)}
_NEEDS = {
    "image": "An image needs an input of shape (height, width) or (height, width, channels)",
    "series": "A series needs an input of shape (time,) or (time, channels)",
    "text": "A text needs token ids, whole numbers of shape (length,)",
}
_COLUMNS = {"image": 3, "bars": 2, "graph": 3}


@dataclass(frozen=True)
class Wish:
    """What the user asks the pictures to be.

    Args:
        kind: One of `explain.render.KINDS`; by the input's shape when empty.
        layer: The inner layer to draw instead of the inputs; empty for the inputs.
        vocabulary: The words of token ids.
    """

    kind: str = ""
    layer: str = ""
    vocabulary: Vocabulary | None = None


def panels(
    answer: Answer,
    predictions: Sequence[Reading],
    explained: Sequence[Sequence[Explained]],
    examples: Examples,
    wish: Wish,
) -> list[list["Example"]]:
    """What to draw: for each example its panels, attributions of one input on one scale.

    Args:
        answer: Outputs and attributions.
        predictions: How each prediction reads.
        explained: How each attribution reads.
        examples: What was explained.
        wish: What the pictures are to be.
    """
    rows = [_Row.of(examples, number, reading, wish) for number, reading in enumerate(predictions)]
    return [
        _on_one_scale([row.panels(one, what) for one, what in zip(attributions, whats, strict=True)])
        for row, attributions, whats in zip(rows, answer.attributions, explained, strict=True)
    ]


def write(out: Path, rows: Sequence[Sequence["Example"]], heading: str) -> None:
    """Writes the pictures of all examples: those of one side by side, where there are several.

    Raises:
        CommandError: HTML was asked for what isn't text.
    """
    from explain.render import draw, save
    from explain.render.example import drawn_as

    every = [panel for row in rows for panel in row]
    kinds = {drawn_as(panel) for panel in every}
    if out.suffix.lower() in TEXT_SUFFIXES:
        from explain.render.text import text_html

        if kinds != {"text"}:
            raise CommandError(
                f"HTML is written of texts. Received: {out} for {', '.join(sorted(kinds))}. Write .png, .svg or .pdf, "
                "or say `--as text`."
            )
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(text_html(every, heading=heading), encoding="utf-8")
        return
    widest = max(len(row) for row in rows)
    columns = widest if widest > 1 else max(_COLUMNS.get(kind, 1) for kind in kinds)
    save(draw(every, columns=columns), out, tell=progress)


def _true(examples: Examples, number: int) -> str | None:
    return examples.labels[number] if examples.labels else None


def _on_one_scale(by_attribution: Sequence[Sequence["Example"]]) -> list["Example"]:
    """The panels of several attributions, those of one input with the largest amount of all as full colour."""
    from explain.render.example import largest

    if len(by_attribution) == 1:
        return list(by_attribution[0])
    limits = [max(map(largest, same)) for same in zip(*by_attribution, strict=True)]
    return [
        replace(panel, limit=limit)
        for attribution in by_attribution
        for panel, limit in zip(attribution, limits, strict=True)
    ]


@dataclass(frozen=True)
class _Row:
    """One explained example, and what its pictures are to be."""

    values: Mapping[str, np.ndarray]
    reading: Reading
    true: str | None
    words: Sequence[str]
    feature_names: Sequence[str]
    wish: Wish

    @classmethod
    def of(cls, examples: Examples, number: int, reading: Reading, wish: Wish) -> "_Row":
        return cls(
            values={name: array[number] for name, array in examples.inputs.items()},
            reading=reading,
            true=examples.labels[number] if examples.labels else None,
            words=examples.words[number] if examples.words else (),
            feature_names=examples.feature_names,
            wish=wish,
        )

    def panels(self, one: Attribution, what: Explained) -> list["Example"]:
        """One panel for each input that has relevance, for the graph that several inputs make, or for the layer."""
        if self.wish.layer:
            return [self._layer(one, what)]
        found = _graph(self.values, one.relevance) if self.wish.kind in ("", "graph") else None
        if found is not None:
            return [self._graph(one, what, *found)]
        if self.wish.kind == "graph":
            raise CommandError(
                "A graph needs node features (nodes, features) and either an adjacency (nodes, nodes) or integer pairs "
                f"(edges, 2). Received: {_shapes(self.values)}"
            )
        drawn = {name: array for name, array in one.relevance.items() if np.ndim(array) > 0}
        asked = self.wish.kind
        if asked and not any(_fits(asked, self.values[name]) for name in drawn):
            raise CommandError(f"{_NEEDS[asked]}. Received: {_shapes(self.values)}. Leave `--as {asked}` out")
        heading = self._title(one, what, one.gap)
        return [
            self._input(name, array, f"{name}: {heading}" if len(drawn) > 1 else heading, what.scale)
            for name, array in drawn.items()
        ]

    def _title(self, one: Attribution, what: Explained, gap: float) -> str:
        from explain.render import title

        predicted = "" if what.is_value else self.reading.label
        amounts = {"explained": what.label, "value": one.value, "unit": what.unit}
        return title(predicted, self.reading.probability, true=self.true, gap=gap, **amounts)  # type: ignore[arg-type]

    def _graph(self, one: Attribution, what: Explained, nodes: str, edges: "Edges") -> "Example":
        from explain.render import Example

        heading = self._title(one, what, one.gap)
        return Example(self.values[nodes], one.relevance[nodes], heading, (), "graph", what.scale, edges=edges)

    def _layer(self, one: Attribution, what: Explained) -> "Example":
        """The relevance at an inner layer; a feature map beside the image that it was computed of."""
        from explain.render import Example, is_image

        layer = self.wish.layer
        if layer not in one.layers:
            known = f"one of {', '.join(one.layers)}" if one.layers else "none: export with `--relevance-at LAYER`"
            raise CommandError(f"Expected a layer that the model was exported with, {known}. Received: '{layer}'")
        relevance = one.layers[layer]
        images = [array for array in self.values.values() if is_image(array.shape)]
        beside = images[0] if len(images) == 1 and relevance.ndim == 3 else None
        kind = "image" if relevance.ndim in _RANKS["image"] else "bars"
        heading = f"{layer}: {self._title(one, what, one.value - float(relevance.sum(dtype=np.float64)))}"
        return Example(beside, relevance, heading, (), kind, what.scale, layer=layer)

    def _input(self, name: str, relevance: np.ndarray, heading: str, scale: str) -> "Example":
        from explain.render import Example

        values = self.values[name]
        kind = self._kind(values)
        names: Sequence[str] = ()
        if kind == "text":
            vocabulary = self.wish.vocabulary
            values = values.astype(np.int64)
            length = _length(values, vocabulary)
            values, relevance = values[:length], relevance[:length]
            own = len(self.words) == length
            names = self.words if own else [_word(index, vocabulary) for index in values.tolist()]
        elif len(self.feature_names) in {values.size, values.shape[-1]}:
            names = self.feature_names
        return Example(values, relevance, heading, names, kind, scale)

    def _kind(self, values: np.ndarray) -> str:
        """The kind that was asked for, for the inputs that it fits; the others keep their own."""
        from explain.render import kind_of

        if self.wish.kind and _fits(self.wish.kind, values):
            return self.wish.kind
        is_text = self.wish.vocabulary is not None and values.dtype.kind in "iu" and values.ndim == 1
        return "text" if is_text else kind_of(values.shape)


def _fits(kind: str, values: np.ndarray) -> bool:
    """Whether an input can be drawn so; ids may come as floats, as Keras' inputs are by default."""
    whole = values.dtype.kind in "iu" or (values.dtype.kind == "f" and bool((values == np.round(values)).all()))
    return values.ndim in _RANKS.get(kind, (values.ndim,)) and (kind != "text" or whole)


def _shapes(values: Mapping[str, np.ndarray]) -> str:
    return ", ".join(f"{name}, {array.dtype} of shape {array.shape}" for name, array in values.items())


def _length(ids: np.ndarray, vocabulary: Vocabulary | None) -> int:
    """The text's own length, without the padding at its end; one token at least."""
    padding = 0 if vocabulary is None else vocabulary.padding
    kept = np.flatnonzero(ids != padding)
    return int(kept[-1]) + 1 if len(kept) else 1


def _word(index: int, vocabulary: Vocabulary | None) -> str:
    return str(index) if vocabulary is None else vocabulary.word(index) or "[PAD]"


def _graph(values: Mapping[str, np.ndarray], relevance: Mapping[str, np.ndarray]) -> tuple[str, "Edges"] | None:
    """The input that holds the nodes, and the edges; None where the inputs are no graph."""
    nodes = [
        name for name, array in values.items() if array.ndim == 2 and array.dtype.kind == "f" and name in relevance
    ]
    for name in nodes:
        count = len(values[name])
        for other, array in values.items():
            if other == name:
                continue
            if array.shape == (count, count):
                from explain.render.graph import edges_of

                return name, edges_of(array, relevance.get(other))
            if array.dtype.kind in "iu" and array.ndim == 2 and array.shape[1] == 2:
                return name, _pairs(array, count, [r for key, r in relevance.items() if key not in (name, other)])
    return None


def _pairs(pairs: np.ndarray, num_nodes: int, others: Sequence[np.ndarray]) -> "Edges":
    """Pairs that join two nodes (others are padding), with the relevance of an input that has a row for each."""
    from explain.render import Edges

    joined = ((pairs >= 0) & (pairs < num_nodes)).all(axis=1) & (pairs[:, 0] != pairs[:, 1])
    rows = next((r for r in others if np.ndim(r) > 0 and len(r) == len(pairs)), None)
    if rows is None or not np.any(rows):
        return Edges(pairs[joined])
    return Edges(pairs[joined], rows.reshape(len(pairs), -1).sum(axis=1)[joined])
