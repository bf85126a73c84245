"""`whyserve rollout`."""

import dataclasses
import statistics
from pathlib import Path
from typing import TYPE_CHECKING

import click

from whyserve.command import Command
from whyserve.errors import CommandError
from whyserve.output import json_option, print_json, print_table, progress

if TYPE_CHECKING:
    from whyserve.benchmark.rollout import Rollout

EXAMPLES = (
    "whyserve rollout models_repo/digits",
    "whyserve rollout models_repo/digits --swaps 100 --connections 64 --engine tensorflow --json",
)
COLUMNS = ["API", ">answered", ">failed", ">per second", ">p50 ms", ">p90 ms", ">p99 ms", ">p99.9 ms", ">worst ms"]


@click.command("rollout", cls=Command, examples=EXAMPLES)
@click.argument("bundle", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--swaps", type=click.IntRange(min=1), default=20, show_default=True, help="How many new versions.")
@click.option("--connections", type=click.IntRange(min=2), default=32, show_default=True, help="Half REST, half gRPC.")
@click.option("--engine", type=click.Choice(["onnxruntime", "tensorflow"]), default="onnxruntime", show_default=True)
@json_option
def command(*, bundle: Path, swaps: int, connections: int, engine: str, as_json: bool) -> None:
    """Swap versions and stop the server under steady load, and count the requests that fail.

    BUNDLE is REPOSITORY/NAME, whose newest version is taken, or a version's folder; copies of it are the versions. The
    load keeps every connection busy until /readyz fails, as a load balancer does. Status 1 when a request failed or the
    server did not end with status 0.
    """
    from whyserve.benchmark.rollout import roll_out
    from whyserve.versions import newest_version

    report = roll_out(
        newest_version(bundle),
        engine=engine,
        swaps=swaps,
        connections=connections,
        say=lambda text: progress(f"-- {text}"),
    )
    if as_json:
        print_json({**dataclasses.asdict(report), "failed": report.failed})
    else:
        _print(report)
    if report.failed or report.exit_status:
        reasons = [reason for api in report.apis.values() for reason in api.failures]
        raise CommandError(
            f"Expected no failed request and status 0. Received: {report.failed} failed, status {report.exit_status}. "
            + " ".join(reasons)
        )


def _print(report: "Rollout") -> None:
    rows = [
        (
            name,
            api.answered,
            api.failed,
            f"{api.requests_per_s:.0f}",
            *(f"{value:.1f}" for value in (api.p50_ms, api.p90_ms, api.p99_ms, api.p999_ms, api.max_ms)),
        )
        for name, api in report.apis.items()
    ]
    click.echo(f"{report.bundle}\n{report.machine}\n")
    print_table(f"{report.swaps} swaps and a drain, {report.connections} connections, {report.engine}", COLUMNS, rows)
    first, last = report.resident_mb
    click.echo(
        f"a swap took {statistics.median(report.swap_s):.2f} s (median; {max(report.swap_s):.2f} at most); resident "
        f"{first:.0f} MB after the first, {last:.0f} MB after the last; exit status {report.exit_status}"
    )
