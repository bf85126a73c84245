"""What commands print: progress on standard error, results as a table or as one JSON object on standard output."""

import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import click

# Tables that go to a file or a pipe are not folded at the 80 columns that rich assumes there.
PIPE_WIDTH = 160

json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of tables.")


def progress(text: str) -> None:
    """Says on standard error what is being done, so that standard output holds results only."""
    click.echo(text, err=True)


@contextmanager
def step(text: str, *, say: Callable[[str], None] = progress) -> Iterator[None]:
    """Announces a step and says how long it took.

    Args:
        text: What is done, as in "exporting the bundle".
        say: Where lines go.
    """
    say(f"-- {text}")
    start = time.monotonic()
    yield
    say(f"   {time.monotonic() - start:.1f} s")


def print_json(value: Any) -> None:
    """Prints one JSON object on standard output; arrays as nested lists."""
    import orjson

    options = orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_NON_STR_KEYS | orjson.OPT_INDENT_2
    click.echo(orjson.dumps(value, default=_plain, option=options).decode())


def _plain(value: Any) -> Any:
    """What orjson does not take by itself: arrays that are not contiguous or hold strings, bytes, paths."""
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    return value.tolist() if hasattr(value, "tolist") else str(value)


def print_table(title: str, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Prints a table on standard output.

    Args:
        title: The line above it.
        columns: Headings; one that starts with ">" is set flush right.
        rows: Cells, one for each heading; None is an empty cell.
    """
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    table = Table(title=escape(title), title_justify="left", title_style="bold", header_style="bold")
    for column in columns:
        table.add_column(escape(column.removeprefix(">")), justify="right" if column.startswith(">") else "left")
    for row in rows:
        table.add_row(*("" if cell is None else escape(str(cell)) for cell in row))
    Console(width=None if sys.stdout.isatty() else PIPE_WIDTH).print(table)
