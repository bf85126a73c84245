"""`whyserve train`; its options are those of `models.training.TrainingConfig`."""

import dataclasses
import json
import types
import typing
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import click

from models.training.config import TrainingConfig
from whyserve.command import Command
from whyserve.output import json_option, print_json, print_table

# What the command line names by other means than an option of the same name.
NAMED_OTHERWISE = ("architecture", "data", "architecture_options")
METRICS = ("accuracy", "precision", "recall", "f1", "roc_auc", "loss")


class NoneOr(click.ParamType[Any]):
    """A value of a type, or `none`."""

    def __init__(self, kind: type) -> None:
        self.kind = kind
        self.name = f"{kind.__name__}|none"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """The value, or None for `none`."""
        return None if value == "none" else click.types.convert_type(self.kind).convert(value, param, ctx)


def config_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """One option for each field of TrainingConfig; those that are not given don't appear among the arguments."""
    for field in reversed(dataclasses.fields(TrainingConfig)):
        if field.name not in NAMED_OTHERWISE:
            command = _option(field)(command)
    return command


def _option(field: "dataclasses.Field[Any]") -> Callable[..., Any]:
    flag = f"--{field.name.replace('_', '-')}"
    text = field.metadata["help"]
    text = f"{text[:1].upper()}{text[1:]}. [default: {_shown(field.default)}]"
    if field.type is bool:
        return click.option(f"{flag}/--no-{flag[2:]}", field.name, default=None, help=text)
    choices = field.metadata["choices"]
    return click.option(
        flag, field.name, type=click.Choice(choices) if choices else _parameter_type(field.type), help=text
    )


def _parameter_type(annotation: Any) -> Any:
    if isinstance(annotation, types.UnionType):
        (kind,) = (each for each in typing.get_args(annotation) if each is not types.NoneType)
        return NoneOr(kind)
    return annotation


def _shown(default: object) -> str:
    return str(default).lower() if isinstance(default, bool) or default is None else str(default)


EXAMPLES = (
    "whyserve train cnn --data digits --out runs/digits",
    "whyserve train cnn --data fashion_mnist --epochs 3 --option units=256",
    "whyserve train --recipe cnn-digits --seed 1",
)


@click.command("train", cls=Command, examples=EXAMPLES)
@click.argument("architecture", required=False)
@click.option("--data", help="Name of a data set; see `whyserve list`.")
@click.option("--recipe", help="Start from a named recipe; the other options override it.")
@click.option(
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    help="The run folder. [default: runs/ARCHITECTURE-DATA]",
)
@click.option("--overwrite", is_flag=True, help="Remove a run that is in the folder.")
@click.option(
    "--option",
    "architecture_options",
    multiple=True,
    metavar="NAME=VALUE",
    help="An option of the architecture, as in units=256 or filters=[16,32]; may be repeated.",
)
@config_options
@json_option
def command(
    *,
    architecture: str | None,
    data: str | None,
    recipe: str | None,
    out: Path | None,
    overwrite: bool,
    architecture_options: tuple[str, ...],
    as_json: bool,
    **options: Any,
) -> None:
    """Train a model on a data set; an interrupted training resumes when the command is repeated.

    ARCHITECTURE and the data sets are listed by `whyserve list`.
    """
    config = training_config(architecture, data, recipe, architecture_options, options)

    from models.progress import TerminalProgress
    from models.training import train

    with TerminalProgress() as progress:
        result = train(
            config, out or Path("runs") / f"{config.architecture}-{config.data}", progress, overwrite=overwrite
        )
    if as_json:
        print_json({"run": str(result.path), **dataclasses.asdict(result.record), "metrics": result.metrics})
        return
    rows = [
        (name, *(f"{metrics[name]:.4f}" for metrics in (result.metrics, result.metrics["validation"])))
        for name in METRICS
    ]
    print_table(str(result.path), ["metric", ">test", ">validation"], rows)


def training_config(
    architecture: str | None,
    data: str | None,
    recipe: str | None,
    architecture_options: Sequence[str],
    options: dict[str, Any],
) -> TrainingConfig:
    """The recipe's settings, or the defaults, with what the command line holds on top.

    Args:
        architecture: Its name.
        data: Name of the data set.
        recipe: Name of a recipe.
        architecture_options: `NAME=VALUE`, each.
        options: The other options by name; those left at their default don't count.

    Returns:
        The configuration.
    """
    settings = _recipe_settings(recipe) if recipe else {}
    settings |= _given({"architecture": architecture, "data": data, **options})
    if architecture_options:
        own = dict(_architecture_option(text) for text in architecture_options)
        settings["architecture_options"] = {**settings.get("architecture_options", {}), **own}
    for name, hint in (("architecture", "ARCHITECTURE"), ("data", "--data NAME")):
        if name not in settings:
            raise click.UsageError(f"Expected {hint}, or a --recipe that has it. `whyserve list` shows what there is.")
    return TrainingConfig(**settings)


def _given(options: dict[str, Any]) -> dict[str, Any]:
    """What the command line holds, `none` included."""
    ctx = click.get_current_context()
    default = click.core.ParameterSource.DEFAULT
    return {name: value for name, value in options.items() if ctx.get_parameter_source(name) is not default}


def _recipe_settings(name: str) -> dict[str, Any]:
    from models.recipes import recipe

    config = recipe(name).config
    return {field.name: getattr(config, field.name) for field in dataclasses.fields(config)}


def _architecture_option(text: str) -> tuple[str, Any]:
    name, equals, value = text.partition("=")
    if not equals or not name:
        raise click.UsageError(f"Expected --option NAME=VALUE, as in units=256. Received: {text}")
    try:
        return name, json.loads(value)
    except ValueError:
        return name, value
