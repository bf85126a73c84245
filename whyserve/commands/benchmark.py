"""`whyserve benchmark`."""

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING

import click

from whyserve.command import Command
from whyserve.output import json_option, print_json, print_table, progress

if TYPE_CHECKING:
    from whyserve.benchmark.run import Report

EXAMPLES = (
    "whyserve benchmark models_repo/digits",
    "whyserve benchmark models_repo/digits/1 --batch 1 --batch 64 --json",
)
TIMES = ["engine", ">batch", ">predict ms", ">explain ms", ">explain / predict", ">pairs"]
LATENCIES = ["engine", ">batch", "API", ">per second", ">p50 ms", ">p90 ms", ">p99 ms", ">p99.9 ms", ">worst ms"]
RATES = ["engine", ">batch", "what", "API", ">per second", ">rows a run", ">in process", ">share", ">p99 ms"]
# A generator that is busier than this may be what was measured.
_GENERATOR_LIMIT = 0.9


@click.command("benchmark", cls=Command, examples=EXAMPLES)
@click.argument("bundle", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option(
    "--engine",
    "engines",
    multiple=True,
    type=click.Choice(["onnxruntime", "tensorflow"]),
    help="An engine to measure; may be repeated. [default: both]",
)
@click.option(
    "--batch",
    "batches",
    multiple=True,
    type=click.IntRange(min=1),
    help="Rows of a request; may be repeated. [default: 1, 8 and 32]",
)
@click.option("--connections", type=click.IntRange(min=1), default=8, show_default=True, help="Of each load.")
@click.option(
    "--rate",
    "rate_per_s",
    type=click.FloatRange(min=1),
    help="Requests per second for the latencies. [default: half of what each API can take]",
)
@click.option(
    "--seconds",
    "budget_s",
    type=click.FloatRange(min=0.1),
    default=1.5,
    show_default=True,
    help="About how long each measurement takes.",
)
@json_option
def command(
    *,
    bundle: Path,
    engines: tuple[str, ...],
    batches: tuple[int, ...],
    connections: int,
    budget_s: float,
    rate_per_s: float | None,
    as_json: bool,
) -> None:
    """Measure a bundle: explain against predict, and requests per second served.

    BUNDLE is REPOSITORY/NAME, whose newest version is taken, or a version's folder. Predict and explain run in turn in
    this process; then a server in a process of its own answers the same requests over REST and gRPC, in turn with runs
    in this process of as many rows as the server joined. Where there are several cores, the load generator has one for
    itself, and the server shares the others with the runs in process. Figures compare within one run.
    """
    from whyserve.benchmark.run import BATCHES, ENGINES, Benchmark
    from whyserve.versions import newest_version

    report = Benchmark(
        newest_version(bundle),
        say=lambda text: progress(f"-- {text}"),
        engines=engines or ENGINES,
        batches=batches or BATCHES,
        budget_s=budget_s,
        connections=connections,
        rate_per_s=rate_per_s,
    ).run()
    if as_json:
        print_json(dataclasses.asdict(report))
        return
    click.echo(f"{report.bundle}\n{report.machine}\n{report.cores}\n")
    _print_times(report)
    _print_rates(report, connections)
    _print_latencies(report)
    _print_parsing(report)
    _print_start(report)


def _print_times(report: "Report") -> None:
    rows = [
        (each.engine, each.batch, each.predict_ms, each.explain_ms, each.ratio, each.pairs)
        for each in report.in_process
    ]
    print_table("in process: median (least to largest)", TIMES, rows)


def _print_rates(report: "Report", connections: int) -> None:
    """One row for each engine, batch, signature and API, beside what the engine does alone with as many rows."""
    rows = [
        (
            each.engine,
            each.batch,
            each.signature,
            each.api,
            f"{each.requests_per_s:.0f}" + ("*" if each.generator_busy > _GENERATOR_LIMIT else ""),
            f"{each.rows_per_run:.1f}",
            f"{each.in_process_per_s:.0f}",
            f"{100 * each.share:.0f} %",
            f"{each.p99_ms:.1f}",
        )
        for each in report.served
    ]
    print_table(f"requests per second at saturation, {connections} connections", RATES, rows)
    if any(each.generator_busy > _GENERATOR_LIMIT for each in report.served):
        click.echo("* the load generator could send no more: the server may take more than this\n")


def _print_latencies(report: "Report") -> None:
    rows = [
        (
            each.engine,
            each.batch,
            each.api,
            f"{each.rate_per_s:.0f}",
            *(f"{value:.2f}" for value in (each.p50_ms, each.p90_ms, each.p99_ms, each.p999_ms, each.max_ms)),
        )
        for each in report.latency
    ]
    print_table("latency of predictions at a rate, from when each was due", LATENCIES, rows)


def _print_parsing(report: "Report") -> None:
    rows = [
        (each.what, "x".join(map(str, each.shape)), f"{each.size_mb:.2f}", f"{each.parse_ms:.2f}")
        for each in report.parsing
    ]
    print_table("from a request's body to the array", ["how", "tensor", ">MB", ">ms"], rows)


def _print_start(report: "Report") -> None:
    start = report.start
    click.echo(
        f"server ({start.engine}): {start.first_answer_s:.2f} s from start to first answer (median of "
        f"{len(start.first_answers_s)}); resident {start.resident_mb:.0f} MB then, "
        f"{start.resident_after_load_mb:.0f} MB after load, {start.resident_peak_mb:.0f} MB at most"
    )
    if report.memory is not None:
        click.echo(
            f"memory ({report.memory.engine}): {report.memory.predict_mb:.0f} MB serving predictions, "
            f"{report.memory.both_mb:.0f} MB serving explanations too ({report.memory.ratio:.2f} times)"
        )
