"""A subcommand whose help ends with examples."""

from collections.abc import Sequence
from typing import Any

import click


class Command(click.Command):
    """A command that shows examples at the end of its help.

    Args:
        examples: Command lines that work as they stand.
        options: What `click.Command` takes.
    """

    def __init__(self, *, examples: Sequence[str], **options: Any) -> None:
        super().__init__(**options)
        self.examples = tuple(examples)

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Writes the examples as they stand, unwrapped."""
        super().format_epilog(ctx, formatter)
        with formatter.section("Examples"):
            for example in self.examples:
                formatter.write(f"{'':>{formatter.current_indent}}{example}\n")
