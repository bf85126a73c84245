"""`whyserve list`."""

from typing import Any

import click

from whyserve.command import Command
from whyserve.output import json_option, print_json, print_table

EXAMPLES = ("whyserve list --json",)


@click.command("list", cls=Command, examples=EXAMPLES)
@json_option
def command(as_json: bool) -> None:
    """List architectures, data sets and recipes, with what each is for."""
    found = _found()
    if as_json:
        print_json(found)
        return
    for kind, entries in found.items():
        columns = list(entries[0]) if entries else ["name"]
        print_table(kind.replace("_", " "), columns, [list(entry.values()) for entry in entries])
        click.echo()


def _found() -> dict[str, list[dict[str, Any]]]:
    from models.data import datasets
    from models.recipes import recipes
    from models.registry import architectures

    return {
        "architectures": [
            {"name": each.name, "task": each.task, "what": each.summary} for each in architectures().values()
        ],
        "data_sets": [
            {
                "name": each.name,
                "examples": each.num_examples,
                "shape": " x ".join(map(str, each.image_shape)),
                "classes": len(each.class_labels),
                "licence": each.licence,
                "what": each.summary,
            }
            for each in datasets().values()
        ],
        "recipes": [{"name": each.name, "what": each.summary} for each in recipes().values()],
    }
