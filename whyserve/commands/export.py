"""`whyserve export`."""

import importlib
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from whyserve.command import Command
from whyserve.errors import CommandError
from whyserve.output import json_option, print_json, progress

EXAMPLES = (
    "whyserve export runs/digits --repository models_repo --name digits",
    "whyserve export my_model.keras --repository models_repo --name mine --composite epsilon_plus",
    "whyserve export my_model.keras --repository models_repo --name mine --relevance-at block_3 --relevance-at block_5",
    "whyserve export my_model.keras --repository models_repo --name mine --import my_layers",
    "whyserve export reviews.keras --repository models_repo --name reviews --vocabulary words.txt",
)


@click.command("export", cls=Command, examples=EXAMPLES)
@click.argument("source", type=click.Path(path_type=Path))
@click.option(
    "--repository", type=click.Path(file_okay=False, path_type=Path), required=True, help="Where models are kept."
)
@click.option("--name", required=True, help="The model's name, its folder in the repository.")
@click.option("--version", "version", type=click.IntRange(min=0), help="The version; the next free one by default.")
@click.option(
    "--composite",
    metavar="NAME|FILE.toml",
    help="Which rule for which layer: epsilon, epsilon_plus, epsilon_plus_flat, epsilon_alpha2_beta1, "
    "epsilon_alpha2_beta1_flat, epsilon_gamma_box, cp_lrp, attnlrp, or a file of your own; by the model's operations "
    "by default.",
)
@click.option(
    "--epsilon",
    type=click.FloatRange(min=0),
    help="Stabiliser of the denominators, 1e-6 by default; 0 for LRP-0.",
)
@click.option(
    "--bias",
    type=click.Choice(["absorb", "ignore", "share"]),
    help="What becomes of the biases' share of relevance; absorb by default.",
)
@click.option("--gamma", type=click.FloatRange(min=0), help="Of the rule gamma; 0.25 by default.")
@click.option("--low", type=float, help="Smallest value of the raw input, for composites with the rule z_box.")
@click.option("--high", type=float, help="Largest value of the raw input, likewise.")
@click.option("--output", help="The output to explain, for models with several.")
@click.option(
    "--relevance-at",
    "layers",
    metavar="LAYER",
    multiple=True,
    help="Return the relevance of what this layer returns as well; may be given several times.",
)
@click.option(
    "--samples",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Representative inputs for the checks, .npz with an array for each input; a run folder has its own.",
)
@click.option(
    "--vocabulary",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="The words of the model's token ids, a line each, id 0 first; the bundle keeps them for `explain --text`.",
)
@click.option(
    "--import",
    "modules",
    metavar="MODULE",
    multiple=True,
    help="Import this module first, from the current folder or PYTHONPATH: it registers the model's own layers "
    "(@keras.saving.register_keras_serializable); may be given several times.",
)
@click.option("--no-explain", is_flag=True, help="Export predictions only.")
@json_option
def command(
    *,
    source: Path,
    repository: Path,
    name: str,
    version: int | None,
    composite: str | None,
    epsilon: float | None,
    bias: str | None,
    gamma: float | None,
    low: float | None,
    high: float | None,
    output: str | None,
    layers: tuple[str, ...],
    samples: Path | None,
    vocabulary: Path | None,
    modules: tuple[str, ...],
    no_explain: bool,
    as_json: bool,
) -> None:
    """Export a model as a bundle that predicts and explains, checked before it is visible.

    SOURCE is a run folder of `whyserve train` or any .keras file (loaded in Keras' safe mode).
    """
    if not source.exists():  # told at once: loading TensorFlow takes seconds
        raise CommandError(
            f"Expected a run folder of `whyserve train` or a .keras file. Received: {source}, which isn't there"
        )

    _import(modules)
    from export.bundle import export_bundle

    bundle = export_bundle(
        source,
        repository=repository,
        name=name,
        version=version,
        explain=not no_explain,
        composite=_composite(composite),
        epsilon=epsilon,
        bias=bias,
        gamma=gamma,
        low=low,
        high=high,
        output=output,
        layers=layers,
        samples=samples,
        vocabulary=vocabulary,
        progress=progress,
    )
    if as_json:
        print_json({"bundle": str(bundle), "name": name, "version": int(bundle.name)})
        return
    click.echo(f"{bundle}")
    progress(
        f"Serve it: whyserve serve --rest_api_port=8501 --model_name={name} --model_base_path={bundle.parent.resolve()}"
    )


def _import(modules: Sequence[str]) -> None:
    """Imports modules by name; those of the current folder are found, as by `python -m`."""
    if modules:
        sys.path.insert(0, str(Path.cwd()))
    for name in modules:
        try:
            importlib.import_module(name)
        except ImportError as error:
            raise CommandError(
                f"Expected a module in the current folder or on PYTHONPATH, by its name in Python (my_layers, not "
                f"my_layers.py). Received: --import {name} ({error})"
            ) from error


def _composite(name_or_file: str | None) -> Any:
    """The name of a composite, or the composite that a TOML file holds."""
    if name_or_file is None or not name_or_file.endswith(".toml"):
        return name_or_file
    from explain import read_composite

    return read_composite(Path(name_or_file))
