"""The command `whyserve`: one lazily imported module in `whyserve.commands` for each subcommand."""

import importlib
import os
import sys
import traceback
from collections.abc import Sequence

import click

from whyserve import __version__
from whyserve.command import Command

COMMANDS = (
    "list",
    "train",
    "export",
    "verify",
    "serve",
    "predict",
    "explain",
    "log",
    "faithfulness",
    "benchmark",
    "rollout",
    "coverage",
    "demo",
)
# What a shell reports for a command that SIGINT ended.
INTERRUPTED = 130


class LazyGroup(Command, click.Group):
    """A group that imports a subcommand's module only when it is asked for, so that `serve` starts without the rest."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002  # click's signature
        """Names of the subcommands, in the order of the work."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        """The subcommand of that name, or None."""
        if cmd_name not in COMMANDS:
            return None
        module = importlib.import_module(f"whyserve.commands.{cmd_name}")
        command: click.Command = module.command
        return command

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Writes the options, and then the commands."""
        super().format_options(ctx, formatter)
        self.format_commands(ctx, formatter)


EXAMPLES = (
    "whyserve train cnn --data digits --out runs/digits",
    "whyserve export runs/digits --repository models_repo --name digits",
    "whyserve serve --rest_api_port=8501 --model_name=digits --model_base_path=$PWD/models_repo/digits",
    "whyserve explain digits --input digit.png --pixel-max 16 --out why.png",
)


@click.group(
    cls=LazyGroup,
    examples=EXAMPLES,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
)
@click.version_option(__version__, prog_name="whyserve")
def cli() -> None:
    """Whyserve: Keras models served together with the reasons for their predictions.

    Exit status: 0 done, 1 the work failed or a check refused, 2 wrong usage.
    WHYSERVE_DEBUG=1 shows where an error came from.
    """


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line.

    Args:
        arguments: What follows the program's name; the process's own arguments by default.

    Returns:
        The exit status: 0 done, 1 the work failed or a check refused, 2 wrong usage, 130 interrupted.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # warnings and errors of TensorFlow, not its remarks
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # ONNX Runtime's wheels send usage data unless told not to
    try:
        status = cli.main(None if arguments is None else list(arguments), prog_name="whyserve", standalone_mode=False)
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except (click.Abort, KeyboardInterrupt):
        click.echo("Interrupted.", err=True)
        return INTERRUPTED
    except Exception as error:  # noqa: BLE001  # the process boundary: whatever came up here is reported and ends it
        _report(error)
        return 1
    return status if isinstance(status, int) else 0


def _report(error: Exception) -> None:
    """One message on standard error; the traceback with `WHYSERVE_DEBUG=1`."""
    if os.environ.get("WHYSERVE_DEBUG") == "1":
        traceback.print_exception(error, file=sys.stderr)
        return
    text = str(error) or type(error).__name__
    if isinstance(error, ModuleNotFoundError) and error.name:
        package = error.name.partition(".")[0]
        text = f"This command needs the package '{package}', which a server's environment lacks: see `make install`."
    elif not _is_ours(error):
        text = f"{type(error).__name__}: {text}\nSet WHYSERVE_DEBUG=1 to see where it came from."
    click.echo(f"Error: {text}", err=True)


def _is_ours(error: Exception) -> bool:
    """Whether the message was written for people by this project; of others the type is told as well."""
    package = type(error).__module__.partition(".")[0]
    return package in ("whyserve", "models", "explain", "export", "serving") or isinstance(error, (ValueError, OSError))
