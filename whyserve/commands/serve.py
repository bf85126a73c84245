"""`whyserve serve`: the fields of `serving.options.ServerOptions` as flags, written as tensorflow_model_server's."""

import dataclasses
import re
import types
import typing
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from serving.options import OptionsError, ServerOptions, check_options
from whyserve.command import Command

EXAMPLES = (
    "whyserve serve --rest_api_port=8501 --model_name=digits --model_base_path=$PWD/models_repo/digits",
    "whyserve serve --model_repository=$PWD/models_repo --port=8500 --max_batch_size=32",
    "whyserve serve --engine=tensorflow --model_name=digits --model_base_path=$PWD/models_repo/digits",
)


def server_flags(command: Callable[..., Any]) -> Callable[..., Any]:
    """One flag for each field of ServerOptions."""
    help_texts = field_texts(ServerOptions)
    for field in reversed(dataclasses.fields(ServerOptions)):
        command = _flag(field, help_texts.get(field.name, ""))(command)
    return command


def field_texts(cls: type) -> dict[str, str]:
    """What a dataclass's docstring says of its fields, under `Attributes:`.

    Args:
        cls: The dataclass.

    Returns:
        Text by field name.
    """
    _, _, attributes = (cls.__doc__ or "").partition("Attributes:\n")
    entries = re.findall(r"^        (\w+): (.*(?:\n         +.*)*)", attributes, re.MULTILINE)
    return {name: " ".join(text.split()).replace("`", "") for name, text in entries}


def _flag(field: "dataclasses.Field[Any]", text: str) -> Callable[..., Any]:
    kind = _kind(field.type)
    options: dict[str, Any] = {"type": kind, "default": field.default, "show_default": field.default is not None}
    if kind is bool:  # bare, or with a value behind the equals sign
        options |= {"is_flag": False, "flag_value": True, "metavar": "[true|false]"}
    if kind is Path:
        options["type"] = click.Path(path_type=Path)
    return click.option(f"--{field.name}", field.name, help=text, **options)


def _kind(annotation: Any) -> Any:
    """The type of a field without its None."""
    if isinstance(annotation, types.UnionType):
        (annotation,) = (each for each in typing.get_args(annotation) if each is not types.NoneType)
    return annotation


def with_underscores(name: str) -> str:
    """tensorflow_model_server's flags are written with underscores; dashes mean the same."""
    return name.replace("-", "_")


@click.command("serve", cls=Command, examples=EXAMPLES, context_settings={"token_normalize_func": with_underscores})
@server_flags
@click.pass_context
def command(ctx: click.Context, /, **flags: Any) -> None:
    """Serve bundles over TensorFlow Serving's gRPC and REST, predictions and explanations.

    Flags are those of tensorflow_model_server, written as there (--flag=value; a boolean may stand bare). SIGTERM and
    Ctrl-C drain: requests in flight are answered, then the server ends with status 0.
    """
    options = ServerOptions(**flags)
    try:
        check_options(options)
    except OptionsError as error:
        raise click.UsageError(str(error)) from error

    from serving.server import serve

    ctx.exit(serve(options))
