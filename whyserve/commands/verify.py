"""`whyserve verify`."""

import dataclasses
from pathlib import Path

import click

from whyserve.command import Command
from whyserve.output import json_option, print_json, progress

EXAMPLES = ("whyserve verify models_repo/digits/1",)


@click.command("verify", cls=Command, examples=EXAMPLES)
@click.argument("bundle", type=click.Path(exists=True, file_okay=False, path_type=Path))
@json_option
def command(bundle: Path, as_json: bool) -> None:
    """Check a bundle again: digests, parity of its formats, conservation layer by layer.

    BUNDLE is a version's folder, or a model's folder, whose newest version is taken.
    """
    from export.bundle import verify_bundle
    from whyserve.versions import newest_version

    folder = newest_version(bundle)
    report = dataclasses.asdict(verify_bundle(folder, progress))
    if as_json:
        print_json(report)
        return
    click.echo(f"{folder}: passed")
