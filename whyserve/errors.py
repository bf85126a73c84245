"""Errors of the command line."""

import click


class CommandError(click.ClickException):
    """The work failed or a check refused: one message on standard error, exit status 1."""

    exit_code = 1
