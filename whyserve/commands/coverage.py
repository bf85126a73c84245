"""`whyserve coverage`."""

import dataclasses
import sys
from pathlib import Path

import click

from whyserve.command import Command
from whyserve.output import json_option, print_json, print_table, progress

EXAMPLES = (
    "whyserve coverage --out runs/coverage --models 'MobileNet*'",
    "whyserve coverage --out runs/coverage --again-failed --max-memory-gb 6",
    "whyserve coverage --out runs/coverage --markdown docs/coverage.md",
)


@click.command("coverage", cls=Command, examples=EXAMPLES)
@click.option(
    "--models",
    "patterns",
    multiple=True,
    metavar="PATTERN",
    help="Only models whose names match, as in 'ResNet*'; may be repeated. [default: all]",
)
@click.option(
    "--out",
    "folder",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("runs/coverage"),
    show_default=True,
    help="Where results are kept, one file a model; models that have one are not checked again.",
)
@click.option("--again", is_flag=True, help="Check models again that have a result.")
@click.option("--again-failed", is_flag=True, help="Check models again that failed.")
@click.option(
    "--max-memory-gb",
    type=click.FloatRange(min=0, min_open=True),
    help="End a model's process that takes more; it fails with that reason. [default: no limit]",
)
@click.option(
    "--timeout",
    "timeout_s",
    type=click.FloatRange(min=1),
    default=3600.0,
    show_default=True,
    help="Seconds that a model's process may take.",
)
@click.option(
    "--markdown",
    "page",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Also write the table to this file, as the documentation holds it.",
)
@json_option
def command(
    *,
    patterns: tuple[str, ...],
    folder: Path,
    again: bool,
    again_failed: bool,
    max_memory_gb: float | None,
    timeout_s: float,
    page: Path | None,
    as_json: bool,
) -> None:
    """Build, explain, export and check the models of keras.applications.

    Each model runs in a process of its own at the smallest input it accepts: one that crashes is a row with its reason.
    An interrupted run goes on where it stopped. The exit status is 1 if a model fails.
    """
    from whyserve.coverage.catalogue import APPLICATIONS, choose
    from whyserve.coverage.report import COLUMNS, markdown, rows
    from whyserve.coverage.runner import Coverage

    models = choose(patterns)
    coverage = Coverage(models, folder, progress, max_memory_gb=max_memory_gb, timeout_s=timeout_s)
    results = coverage.run(again=again, again_failed=again_failed)
    passed = sum(result.passed for result in results)
    if page is not None:
        page.parent.mkdir(parents=True, exist_ok=True)
        page.write_text(markdown(results, total=len(APPLICATIONS)), encoding="utf-8")
        progress(f"wrote {page}")
    if as_json:
        print_json({"passed": passed, "models": [dataclasses.asdict(result) for result in results]})
    else:
        print_table(f"{passed} of {len(results)} models pass", COLUMNS, rows(results))
        for result in results:
            if not result.passed:
                click.echo(f"{result.model} ({result.stage}): {result.reason}")
    if passed < len(results):
        sys.exit(1)
