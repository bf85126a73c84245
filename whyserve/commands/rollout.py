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
    "whyserve rollout models_repo/digits --beside models_repo/resnet50 --rate 500",
)
LATENCIES = ["while", ">requests", ">p50 ms", ">p90 ms", ">p99 ms", ">p99.9 ms", ">worst ms"]
_RATE, _SECONDS = "Requests per second, with --beside.", "Of each of the windows that take turns, with --beside."
COLUMNS = ["API", ">answered", ">failed", ">per second", ">p50 ms", ">p90 ms", ">p99 ms", ">p99.9 ms", ">worst ms"]


@click.command("rollout", cls=Command, examples=EXAMPLES)
@click.argument("bundle", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--swaps", type=click.IntRange(min=1), default=20, show_default=True, help="How many new versions.")
@click.option("--connections", type=click.IntRange(min=2), default=32, show_default=True, help="Half REST, half gRPC.")
@click.option("--engine", type=click.Choice(["onnxruntime", "tensorflow"]), default="onnxruntime", show_default=True)
@click.option(
    "--beside",
    "other",
    metavar="BUNDLE",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Swap nothing: load and unload this bundle all the time, and compare the latencies of the first.",
)
@click.option("--rate", "rate_per_s", type=click.FloatRange(min=1), default=200.0, show_default=True, help=_RATE)
@click.option("--seconds", type=click.FloatRange(min=0.5), default=3.0, show_default=True, help=_SECONDS)
@json_option
def command(
    *,
    bundle: Path,
    swaps: int,
    connections: int,
    engine: str,
    other: Path | None,
    rate_per_s: float,
    seconds: float,
    as_json: bool,
) -> None:
    """Swap versions and stop the server under steady load, and count the requests that fail.

    BUNDLE is REPOSITORY/NAME, whose newest version is taken, or a version's folder; copies of it are the versions. The
    load keeps every connection busy until /readyz fails, as a load balancer does. Status 1 when a request failed or the
    server did not end with status 0.

    With --beside, requests are sent at a rate over REST, in windows that take turns: while nothing happens, and while
    the other bundle is loaded and unloaded. A latency counts from when a request was due.
    """
    from whyserve.benchmark.rollout import roll_out
    from whyserve.versions import newest_version

    if other is not None:
        _compare(newest_version(bundle), newest_version(other), engine, rate_per_s, seconds, as_json=as_json)
        return
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


def _compare(bundle: Path, other: Path, engine: str, rate_per_s: float, window_s: float, *, as_json: bool) -> None:
    from whyserve.benchmark.beside import measure_beside

    report = measure_beside(
        bundle, other, engine=engine, rate_per_s=rate_per_s, window_s=window_s, say=lambda text: progress(f"-- {text}")
    )
    if as_json:
        print_json(dataclasses.asdict(report))
        return
    rows = [
        (what, report.requests, *(f"{value:.2f}" for value in latencies.values()))
        for what, latencies in (("quiet", report.quiet), ("loading", report.loading))
    ]
    click.echo(f"{report.bundle}, beside {report.other}\n{report.machine}\n{report.cores}\n")
    print_table(f"latencies at {report.rate_per_s:g} requests/s over REST, {report.engine}", LATENCIES, rows)
    first, last = report.resident_mb
    click.echo(
        f"{len(report.load_s)} loads of {statistics.median(report.load_s):.2f} s (median); resident {first:.0f} MB "
        f"after the first unload, {last:.0f} MB after the last"
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
