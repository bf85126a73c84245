"""`whyserve verify`."""

import dataclasses
from pathlib import Path
from typing import Any

import click

from whyserve.command import Command
from whyserve.output import json_option, print_json, print_table, progress

EXAMPLES = (
    "whyserve verify models_repo/digits/1",
    "whyserve verify models_repo/digits --json",
)
COLUMNS = ["layer", "rule", ">at its output", ">absorbed by bias", ">by stabilizer", ">at its input", ">unaccounted"]


@click.command("verify", cls=Command, examples=EXAMPLES)
@click.argument("bundle", type=click.Path(exists=True, file_okay=False, path_type=Path))
@json_option
def command(bundle: Path, as_json: bool) -> None:
    """Check a bundle again: digests, parity of its formats, conservation layer by layer.

    BUNDLE is a version's folder, or a model's folder, whose newest version is taken. The table follows relevance from
    the explained output down, in means over the recorded examples: what arrives at a layer's output is what the layer
    absorbs and what leaves at its input.
    """
    from export.bundle import verify_bundle
    from whyserve.versions import newest_version

    folder = newest_version(bundle)
    report = verify_bundle(folder, progress)
    if as_json:
        print_json(dataclasses.asdict(report))
        return
    if report.conservation is not None:
        print_table(_title(report), COLUMNS, [_row(layer) for layer in report.conservation.layers])
    click.echo(f"{folder}: passed")


def _title(report: Any) -> str:
    return f"{report.name}, version {report.version}: relevance layer by layer, {report.conservation.examples} examples"


def _row(layer: Any) -> tuple[object, ...]:
    amounts = (layer.relevance_out, layer.absorbed_bias, layer.absorbed_stabilizer, layer.relevance_in)
    return (layer.layer, ", ".join(layer.rules), *(f"{amount:.4g}" for amount in amounts), f"{layer.residual:.0e}")
