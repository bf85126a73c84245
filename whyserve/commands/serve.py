"""`whyserve serve`: the fields of `serving.options.ServerOptions` as flags, written as tensorflow_model_server's."""

import contextlib
import dataclasses
import re
import types
import typing
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from serving.config.without_effect import WITHOUT_EFFECT
from serving.options import OptionsError, ServerOptions, check_options
from whyserve import __version__
from whyserve.command import Command

_GIVEN = "whyserve.flags_without_effect"
"""Where the context holds the flags that were given and have no effect."""

EXAMPLES = (
    "whyserve serve --rest_api_port=8501 --model_name=digits --model_base_path=$PWD/models_repo/digits",
    "whyserve serve --model_repository=$PWD/models_repo --port=8500 --max_batch_size=32",
    "whyserve serve --model_config_file=$PWD/models.config --model_config_file_poll_wait_seconds=10",
    "whyserve serve --engine=tensorflow --model_name=digits --model_base_path=$PWD/models_repo/digits",
)


GROUPS = {
    "What is served": (
        "model_name",
        "model_base_path",
        "model_config_file",
        "model_config_file_poll_wait_seconds",
        "model_repository",
        "num_versions",
        "file_system_poll_wait_seconds",
        "allow_version_labels_for_unavailable_models",
        "enable_admin_api",
    ),
    "Ports": (
        "host",
        "port",
        "rest_api_port",
        "grpc_socket_path",
        "rest_api_socket_path",
        "grpc_channel_arguments",
        "enable_grpc_healthcheck_service",
        "rest_api_enable_cors_support",
    ),
    "Who may ask": (
        "ssl_config_file",
        "rest_api_ssl",
        "use_alts_credentials",
        "auth_tokens_file",
        "metrics_need_token",
    ),
    "Bounds of a request": (
        "rest_api_timeout_in_ms",
        "rest_api_read_timeout_in_ms",
        "rest_api_idle_timeout_in_ms",
        "max_request_bytes",
        "max_inflated_bytes",
        "max_json_depth",
        "max_concurrent_requests",
        "max_connections",
        "refuse_non_finite",
    ),
    "Batching and threads": (
        "enable_batching",
        "batching_parameters_file",
        "enable_per_model_batching_parameters",
        "max_batch_size",
        "max_wait_ms",
        "max_queued_requests",
        "max_explain_batch_size",
        "max_queued_explanations",
        "grpc_max_threads",
        "explain_threads",
        "num_threads",
    ),
    "Loading and unloading": (
        "num_load_threads",
        "num_unload_threads",
        "max_num_load_retries",
        "load_retry_interval_micros",
        "enable_model_warmup",
        "num_request_iterations_for_warmup",
        "grace_period_s",
        "drain_delay_s",
    ),
    "Answers": ("enable_serialization_as_tensor_content", "enable_signature_method_name_check"),
    "Engine": ("engine", "device"),
    "TensorFlow's sessions, with --engine=tensorflow only": (
        "saved_model_tags",
        "tensorflow_session_parallelism",
        "tensorflow_intra_op_parallelism",
        "tensorflow_inter_op_parallelism",
        "tensorflow_session_config_file",
        "per_process_gpu_memory_fraction",
        "mixed_precision",
        "xla_cpu_compilation_enabled",
        "xla_gpu_compilation_enabled",
    ),
    "What is observed": (
        "monitoring_config_file",
        "request_log",
        "request_log_format",
        "request_log_sampling_rate",
        "request_log_max_bytes",
        "request_log_max_files",
        "audit_log",
        "audit_log_relevance",
        "otlp_endpoint",
        "access_log",
        "log_format",
    ),
    "Taken as tensorflow_model_server takes them, without effect here": tuple(WITHOUT_EFFECT),
}
"""The flags as `serve --help` shows them; one that is missing here is shown last."""


class _OptionalPath(click.Path):
    """A path; empty text is none, as tensorflow_model_server reads its flags."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """See `click.Path.convert`."""
        # TensorFlow Serving has no tokens: a variable that was left empty must not open the server to everybody.
        optional = param is None or param.name != "auth_tokens_file"
        return None if optional and value == "" else super().convert(value, param, ctx)


def server_flags(command: Callable[..., Any]) -> Callable[..., Any]:
    """One flag for each field of ServerOptions, and one for each that has no effect here."""
    for name, flag in reversed(WITHOUT_EFFECT.items()):
        text = f"Ignored: {flag.reason}"
        command = click.option(
            f"--{name}", name, help=text, expose_value=False, callback=_note_given, **_value_options(flag.kind)
        )(command)
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
    options = _value_options(_kind(field.type))
    options |= {"default": field.default, "show_default": field.default not in (None, "")}
    return click.option(f"--{field.name}", field.name, help=text, **options)


def _value_options(kind: Any) -> dict[str, Any]:
    """How click reads a value of a type."""
    if kind is bool:  # bare, or with a value behind the equals sign
        return {"type": bool, "is_flag": False, "flag_value": True, "metavar": "[true|false]"}
    return {"type": _OptionalPath(path_type=Path) if kind is Path else kind}


def _note_given(ctx: click.Context, option: click.Parameter, _value: Any) -> None:
    if option.name is not None and ctx.get_parameter_source(option.name) is ParameterSource.COMMANDLINE:
        ctx.meta.setdefault(_GIVEN, []).append(option.name)


def _kind(annotation: Any) -> Any:
    """The type of a field without its None."""
    if isinstance(annotation, types.UnionType):
        (annotation,) = (each for each in typing.get_args(annotation) if each is not types.NoneType)
    return annotation


def with_underscores(name: str) -> str:
    """tensorflow_model_server's flags are written with underscores; dashes mean the same."""
    return name.replace("-", "_")


def _show_version(ctx: click.Context, _option: click.Parameter, wanted: bool) -> None:
    if not wanted or ctx.resilient_parsing:
        return
    from importlib.metadata import PackageNotFoundError, version

    click.echo(f"Whyserve ModelServer: {__version__}")
    for distribution in ("onnxruntime", "onnxruntime-gpu", "tensorflow"):
        with contextlib.suppress(PackageNotFoundError):
            click.echo(f"{distribution}: {version(distribution)}")
    ctx.exit(0)


@click.command(
    "serve",
    cls=Command,
    examples=EXAMPLES,
    groups=GROUPS,
    context_settings={"token_normalize_func": with_underscores},
)
@server_flags
@click.option(
    "--version",
    **_value_options(bool),
    default=False,
    is_eager=True,
    expose_value=False,
    callback=_show_version,
    help="Show the versions of the server and of its engines, and end.",
)
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

    given = [name for name in flags if ctx.get_parameter_source(name) is ParameterSource.COMMANDLINE]
    ctx.exit(serve(options, given=[*given, *ctx.meta.get(_GIVEN, [])]))
