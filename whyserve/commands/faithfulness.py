"""`whyserve faithfulness`."""

import dataclasses
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from whyserve.command import Command
from whyserve.errors import CommandError
from whyserve.output import json_option, print_json, print_table, progress

if TYPE_CHECKING:
    import numpy as np

    from whyserve.client.base import ModelDescription
    from whyserve.faithfulness.report import Report

EXAMPLES = (
    "whyserve faithfulness models_repo/digits --data digits --examples 200 --out faithfulness.png",
    "whyserve faithfulness models_repo/wine/1 --data wine.npz --json",
)
COLUMNS = [
    "attribution", ">deletion (low is good)", ">insertion (high is good)", ">relevance better by: del.", ">insertion",
]  # fmt: skip


@click.command("faithfulness", cls=Command, examples=EXAMPLES)
@click.argument("bundle", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option(
    "--data",
    required=True,
    metavar="NAME|FILE.npz",
    help="A data set of `whyserve list` (its test set), or a file of examples.",
)
@click.option("--examples", type=click.IntRange(min=1), default=200, show_default=True, help="How many of them.")
@click.option("--steps", type=click.IntRange(min=1), default=32, show_default=True, help="Points of a curve.")
@click.option(
    "--baseline",
    default="mean",
    show_default=True,
    metavar="mean|NUMBER",
    help="What stands for an absent value: the mean of the examples (of a channel in images, else of a feature), or "
    "a number. Token ids have the padding's.",
)
@click.option(
    "--region",
    type=click.IntRange(min=1),
    help="Images: side of the regions that are taken away, in pixels; a seventh of the image's by default.",
)
@click.option("--random-seeds", type=click.IntRange(min=1), default=5, show_default=True, help="Random attributions.")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Of everything that is drawn.")
@click.option(
    "--out", type=click.Path(dir_okay=False, path_type=Path), help="Write the curves here (.png, .svg, .pdf)."
)
@json_option
def command(
    *,
    bundle: Path,
    data: str,
    examples: int,
    steps: int,
    baseline: str,
    region: int | None,
    random_seeds: int,
    seed: int,
    out: Path | None,
    as_json: bool,
) -> None:
    """Measure whether explanations name what predictions hang on.

    BUNDLE is a version's folder, or a model's folder, whose newest version is taken. What was said to matter most is
    taken away first (deletion) or put in first (insertion); the table has the area under the curve of the predicted
    class's score, with its standard error, beside random attribution and gradient times input.
    """
    _check_baseline(baseline)
    from models.progress import TerminalProgress
    from whyserve.client.bundle import BundleClient
    from whyserve.faithfulness.evaluate import Settings, evaluate
    from whyserve.versions import newest_version

    folder = newest_version(bundle)
    client = BundleClient(folder)
    description = client.describe()
    client.close()
    with TerminalProgress() as bar:
        inputs = _chosen(_examples(data, description, bar), examples, seed)
        settings = Settings(steps=steps, baseline=baseline, region=region, random_seeds=random_seeds, seed=seed)
        report = evaluate(folder, inputs, data=data, settings=settings, progress=bar)
    for note in report.notes:
        progress(note)
    if out is not None:
        _draw(report, out)
        progress(f"picture: {out}")
    if as_json:
        print_json(_as_json(report))
        return
    print_table(_title(report), COLUMNS, _rows(report))


def _check_baseline(baseline: str) -> None:
    try:
        finite = baseline == "mean" or math.isfinite(float(baseline))
    except ValueError:
        finite = False
    if not finite:
        raise click.UsageError(f"Expected --baseline mean or a number. Received: {baseline}")


def _examples(data: str, description: "ModelDescription", bar: Any) -> "dict[str, np.ndarray]":
    """A data set's test images, or the examples of a file."""
    from models.data import dataset, datasets
    from whyserve.inputs.fit import fit, only_input
    from whyserve.inputs.read import read_examples

    if data not in datasets():
        if not Path(data).is_file():
            raise CommandError(
                f"Expected a file of examples (.npz, .npy, .csv, .json), or one of {', '.join(datasets())}. "
                f"Received: {data}"
            )
        return dict(read_examples(Path(data), description.inputs).inputs)
    images = getattr(dataset(data).load(0, bar).test, "images", None)
    if images is None:
        raise CommandError(
            f"Data set '{data}' doesn't hold images. Write the examples that the model takes to an .npz file, an array "
            "for each input."
        )
    spec = only_input(description.inputs, f"Data set '{data}'")
    return {spec.name: fit(images, spec)}


def _chosen(inputs: "dict[str, np.ndarray]", examples: int, seed: int) -> "dict[str, np.ndarray]":
    """So many of the examples, drawn without replacement; all of them where there are no more."""
    import numpy as np

    available = len(next(iter(inputs.values())))
    rows = np.sort(np.random.default_rng(seed).permutation(available)[:examples])
    return {name: array[rows] for name, array in inputs.items()}


def _title(report: "Report") -> str:
    return (
        f"{report.name}, version {report.version}, composite {report.composite}: {report.examples} examples of "
        f"{report.data}, {report.elements} elements, region {report.region}, baseline {report.baseline}"
    )


def _rows(report: "Report") -> list[tuple[object, ...]]:
    from whyserve.faithfulness.report import DELETION, INSERTION, RELEVANCE

    rows: list[tuple[object, ...]] = []
    for name, measured in report.measured.items():
        areas = [_plus_minus(measured[kind].area, measured[kind].error) for kind in (DELETION, INSERTION)]
        better = [None if name == RELEVANCE else _plus_minus(*report.advantage(name, k)) for k in (DELETION, INSERTION)]
        rows.append((name, *areas, *better))
    return rows


def _plus_minus(value: float, error: float) -> str:
    return f"{value:.4f}" if math.isnan(error) else f"{value:.4f} ± {error:.4f}"


def _draw(report: "Report", out: Path) -> None:
    from explain.render import save
    from explain.render.curves import Curve, draw_curves
    from whyserve.faithfulness.report import DELETION, INSERTION

    panels = {
        f"{kind}: {good} is good": [
            Curve(f"{name} ({measured[kind].area:.3f})", measured[kind].curve, measured[kind].curve_error)
            for name, measured in report.measured.items()
        ]
        for kind, good in ((DELETION, "low"), (INSERTION, "high"))
    }
    heading = (
        f"{report.name}, {report.composite}: {report.examples} examples of {report.data}, baseline {report.baseline}"
    )
    labels = ("fraction of the elements", "score of the predicted class")
    save(draw_curves(report.fractions, panels, heading=heading, labels=labels), out)


def _as_json(report: "Report") -> dict[str, Any]:
    from whyserve.faithfulness.report import RELEVANCE

    result = dataclasses.asdict(report)
    for name, measured in report.measured.items():
        for kind, curve in measured.items():
            entry = result["measured"][name][kind]
            entry |= {"area": curve.area, "area_error": curve.error}
            if name != RELEVANCE:
                difference, error = report.advantage(name, kind)
                entry |= {"relevance_better_by": difference, "relevance_better_by_error": error}
    return result
