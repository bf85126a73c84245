"""`whyserve explain`."""

from pathlib import Path
from typing import Any

import click

from whyserve.asking import (
    Question,
    Reading,
    asked,
    percent,
    question_options,
    readings,
    refuse_combination,
    where,
)
from whyserve.client.base import PREDICTED, Answer, ModelDescription
from whyserve.command import Command
from whyserve.inputs.fit import Examples
from whyserve.output import json_option, print_json, print_table, progress

COLUMNS = [">#", "prediction", ">probability", "true", "explained", ">explained value", ">conservation gap"]

EXAMPLES = (
    "whyserve explain digits --input digit.png --pixel-max 16 --out why.png",
    "whyserve explain digits --input examples.npz --limit 3 --top-k 2",
    "whyserve explain digits --input rows.csv --bundle models_repo/digits/1 --target 3",
)


@click.command("explain", cls=Command, examples=EXAMPLES)
@question_options
@click.option(
    "--target",
    type=click.IntRange(min=PREDICTED),
    default=PREDICTED,
    help="The class to explain; the predicted one by default.",
)
@click.option("--top-k", type=click.IntRange(min=1), default=1, help="Explain so many of the highest scores.")
@click.option(
    "--out", type=click.Path(dir_okay=False, path_type=Path), help="Write a picture here (.png, .svg, .pdf, .jpg)."
)
@json_option
def command(question: Question, target: int, top_k: int, out: Path | None, as_json: bool) -> None:
    """Ask a model why: predictions with the relevance of each input value.

    NAME is the model's name on the server. The explained value is the score before softmax or sigmoid; the conservation
    gap is what it differs by from the sum of all relevance.
    """
    refuse_combination(target, top_k)
    with asked(question) as (client, description, examples):
        answer = client.explain(examples.inputs, target=target, top_k=top_k)
        predictions = _readings(answer, description, target)
        if out is not None:
            _write_picture(out, answer, predictions, examples)
            progress(f"picture: {out}")
        if as_json:
            return print_json(_as_json(answer))
        print_table(where(client, answer), COLUMNS, _rows(answer, predictions, examples))
    return None


def _readings(answer: Answer, description: ModelDescription, target: int) -> list[Reading]:
    """The predictions, with the labels that came with the explanations: a server's metadata names no classes."""
    plain = readings(answer, description.class_labels)
    if target != PREDICTED:
        return plain
    pairs = zip(plain, answer.attributions, strict=True)
    return [
        Reading(attributions[0].label, reading.probability, reading.index) if reading.index is not None else reading
        for reading, attributions in pairs
    ]


def _rows(answer: Answer, predictions: list[Reading], examples: Examples) -> list[tuple[object, ...]]:
    rows: list[tuple[object, ...]] = []
    for number, (reading, attributions) in enumerate(zip(predictions, answer.attributions, strict=True)):
        true = examples.labels[number] if examples.labels else None
        head: tuple[object, ...] = (number, reading.label, percent(reading.probability), true)
        for attribution in attributions:
            rows.append((*head, attribution.label, f"{attribution.value:.4f}", f"{attribution.gap:.2g}"))
            head = (None,) * 4
    return rows


def _as_json(answer: Answer) -> dict[str, Any]:
    explanations = [
        [
            {
                "target": one.index,
                "label": one.label,
                "explained_value": one.value,
                "conservation_gap": one.gap,
                "relevance": one.relevance,
            }
            for one in attributions
        ]
        for attributions in answer.attributions
    ]
    return {
        "model": answer.model,
        "version": answer.version,
        "outputs": answer.outputs,
        "explanations": explanations,
    }


def _write_picture(out: Path, answer: Answer, predictions: list[Reading], examples: Examples) -> None:
    """One panel for each example, attribution and input."""
    from explain.render import Example, draw, save, title

    panels = []
    for number, (reading, attributions) in enumerate(zip(predictions, answer.attributions, strict=True)):
        true = examples.labels[number] if examples.labels else None
        for one in attributions:
            heading = title(reading.label, reading.probability, true=true, gap=one.gap)
            if len(attributions) > 1 or one.index not in (reading.index, None):
                heading = f"why {one.label}: {heading}"
            for name, relevance in one.relevance.items():
                caption = f"{name}: {heading}" if len(one.relevance) > 1 else heading
                values = examples.inputs[name][number]
                names = examples.feature_names if values.ndim == 1 else ()
                panels.append(Example(values, relevance, caption, names))
    save(draw(panels), out)
