"""`whyserve explain`."""

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from whyserve.asking import (
    Explained,
    Question,
    Reading,
    asked,
    explained_as,
    percent,
    question_options,
    readings,
    true_label,
    where,
)
from whyserve.client.base import PREDICTED, Answer, Target, Targets
from whyserve.command import Command
from whyserve.inputs.fit import Examples
from whyserve.output import json_option, print_json, print_table, progress
from whyserve.pictures import Wish, panels, write

COLUMNS = [">#", "prediction", ">probability", "true", "explained", ">explained value", ">conservation gap"]
KINDS = ("image", "bars", "text", "series", "graph")

EXAMPLES = (
    "whyserve explain digits --input digit.png --pixel-max 16 --out why.png",
    "whyserve explain digits --input examples.npz --limit 3 --top-k 2 --out why.png",
    "whyserve explain digits --input rows.csv --bundle models_repo/digits/1 --target 3 --against 5",
    "whyserve explain reviews --text 'a film to remember' --bundle models_repo/reviews --out why.html",
    "whyserve explain engines --input windows.npy --as series --out why.svg",
)


@click.command("explain", cls=Command, examples=EXAMPLES)
@question_options
@click.option(
    "--target",
    "target",
    metavar="LABEL|INDEX",
    multiple=True,
    help="The class to explain, the predicted one by default; given several times: one for each example.",
)
@click.option(
    "--against",
    metavar="LABEL|INDEX",
    multiple=True,
    help="Explain why the class rather than this one (-1: the predicted one): the difference of their relevance.",
)
@click.option("--top-k", type=click.IntRange(min=1), default=1, help="Explain so many of the highest scores.")
@click.option(
    "--out",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write a picture here (.png, .svg, .pdf, .jpg; .html for text).",
)
@click.option(
    "--as", "kind", type=click.Choice(KINDS), default=None, help="How to draw; by the input's shape by default."
)
@click.option("--layer", default="", help="Draw the relevance at this inner layer (see `export --relevance-at`).")
@json_option
def command(
    *,
    question: Question,
    target: tuple[str, ...],
    against: tuple[str, ...],
    top_k: int,
    out: Path | None,
    kind: str | None,
    layer: str,
    as_json: bool,
) -> None:
    """Ask a model why: predictions with the relevance of each input value.

    NAME is the model's name on the server. The explained value is the score before softmax or sigmoid, or the output
    itself where the model has neither; the conservation gap is what it differs by from the sum of all relevance.
    """
    if top_k > 1 and (target or against):
        raise click.UsageError(
            "Expected `--target`, with or without `--against`, or `--top-k`: one names the class, the other takes the "
            "best."
        )
    targets, contrast = _targets("--target", target), _targets("--against", against)
    with asked(question) as (client, description, read):
        answer = client.explain(
            read.inputs, target=PREDICTED if targets is None else targets, contrast=contrast, top_k=top_k
        )
        labels = _labels(answer, description.class_labels)
        examples = replace(read, labels=read.labels and tuple(true_label(label, labels) for label in read.labels))
        predictions = readings(answer, labels, _output(answer))
        explained = explained_as(answer)
        wish = Wish(kind or "", layer, description.vocabulary)
        if out is not None:
            write(out, panels(answer, predictions, explained, examples, wish), where(client, answer))
            progress(f"picture: {out}")
        if as_json:
            return print_json(_as_json(answer))
        print_table(where(client, answer), COLUMNS, _rows(answer, predictions, explained, examples))
        if not layer and _has_text(examples, wish):
            _print_texts([one for row in panels(answer, predictions, explained, examples, wish) for one in row])
    return None


def _targets(option: str, given: Sequence[str]) -> Targets:
    """Whole numbers are indices, everything else is a label; one stands for all examples."""
    targets: list[Target] = [int(one) if re.fullmatch(r"-?[0-9]+", one) else one for one in given]
    for one in targets:
        if isinstance(one, int) and one < PREDICTED:
            raise click.UsageError(
                f"Expected a label, an index, or -1 for the predicted class, for {option}. Received: {one}"
            )
    return (targets[0] if len(targets) == 1 else targets) if targets else None


def _output(answer: Answer) -> str:
    return next((one.output for attributions in answer.attributions for one in attributions), "")


def _labels(answer: Answer, known: Sequence[str]) -> Sequence[str]:
    """The class labels that are known, or those that came with the explanations: a server's metadata has none."""
    if known:
        return known
    came = {one.index: one.label for attributions in answer.attributions for one in attributions}
    came |= {
        one.contrast_index: one.contrast
        for attributions in answer.attributions
        for one in attributions
        if one.contrast_index is not None
    }
    return [came.get(index, str(index)) for index in range(max(came, default=-1) + 1)]


def _rows(
    answer: Answer, predictions: list[Reading], explained: list[list[Explained]], examples: Examples
) -> list[tuple[object, ...]]:
    rows: list[tuple[object, ...]] = []
    each = zip(predictions, answer.attributions, explained, strict=True)
    for number, (reading, attributions, whats) in enumerate(each):
        true = examples.labels[number] if examples.labels else None
        head: tuple[object, ...] = (number, reading.label, percent(reading.probability), true)
        for one, what in zip(attributions, whats, strict=True):
            rows.append((*head, what.label, f"{one.value:.4f}", f"{one.gap:.2g}"))
            head = (None,) * 4
    return rows


def _as_json(answer: Answer) -> dict[str, Any]:
    return {
        "model": answer.model,
        "version": answer.version,
        "outputs": answer.outputs,
        "explanations": [
            [
                {
                    "target": one.index,
                    "label": one.label,
                    **({} if one.contrast_index is None else {"contrast": one.contrast_index, "against": one.contrast}),
                    "explained_value": one.value,
                    "conservation_gap": one.gap,
                    "relevance": one.relevance,
                    **({"relevance_at": one.layers} if one.layers else {}),
                }
                for one in attributions
            ]
            for attributions in answer.attributions
        ],
    }


def _has_text(examples: Examples, wish: Wish) -> bool:
    if wish.kind:
        return wish.kind == "text"
    return wish.vocabulary is not None and any(array.dtype.kind in "iu" for array in examples.inputs.values())


def _print_texts(examples: Sequence[Any]) -> None:
    """The tokens on the colours of their relevance, after the table."""
    from rich.console import Console

    from explain.render.example import drawn_as
    from explain.render.text import terminal_text

    console = Console(highlight=False)
    for example in examples:
        if drawn_as(example) == "text":
            console.print(example.title, style="bold", markup=False)
            console.print(terminal_text(example))
