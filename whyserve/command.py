"""A subcommand whose help has its many options in groups, and ends with examples."""

from collections.abc import Mapping, Sequence
from typing import Any

import click


class Command(click.Command):
    """A command that shows examples at the end of its help.

    Args:
        examples: Command lines that work as they stand.
        groups: Names of options by the heading under which the help shows them; the others come last.
        options: What `click.Command` takes.
    """

    def __init__(
        self, *, examples: Sequence[str], groups: Mapping[str, Sequence[str]] | None = None, **options: Any
    ) -> None:
        super().__init__(**options)
        self.examples = tuple(examples)
        self.groups = groups or {}

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Writes the options, each under its group's heading."""
        records = {
            parameter.name or "": record
            for parameter in self.get_params(ctx)
            if (record := parameter.get_help_record(ctx)) is not None
        }
        sections = {
            heading: [records.pop(name) for name in names if name in records] for heading, names in self.groups.items()
        }
        for heading, lines in {**sections, "Options": [*records.values()]}.items():
            if lines:
                with formatter.section(heading):
                    formatter.write_dl(lines)

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Writes the examples as they stand, unwrapped."""
        super().format_epilog(ctx, formatter)
        with formatter.section("Examples"):
            for example in self.examples:
                formatter.write(f"{'':>{formatter.current_indent}}{example}\n")
