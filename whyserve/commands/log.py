"""`whyserve log`: what the server's request log and audit log hold."""

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import click

from whyserve.command import Command
from whyserve.output import json_option, print_json, print_table

if TYPE_CHECKING:
    from serving.logs.read import Choice

FORMATS = ("warmup", "npz", "csv")
EXAMPLES = (
    "whyserve log requests.jsonl",
    "whyserve log requests.jsonl --to warmup --out models_repo/digits/1/assets.extra/tf_serving_warmup_requests",
    "whyserve log requests.tfrecord --to npz --model digits --signature serving_default --out digits.npz",
    "whyserve log audit.jsonl",
)


@click.command("log", cls=Command, examples=EXAMPLES)
@click.argument("log", type=click.Path(dir_okay=False, path_type=Path))
@click.option(
    "--to",
    "form",
    type=click.Choice(FORMATS),
    help="Write the requests that succeeded as warm-up records, as arrays, or as a table with a row for each example.",
)
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), help="The file to write.")
@click.option("--model", default="", help="Requests of this model only.")
@click.option("--version", "model_version", type=int, help="Requests of this version only.")
@click.option("--signature", default="", help="Requests of this signature only.")
@json_option
def command(
    log: Path, form: str | None, out: Path | None, model: str, model_version: int | None, signature: str, as_json: bool
) -> int:
    """Read what `whyserve serve` wrote with --request_log or --audit_log.

    Of a request log (JSON lines or TFRecord, with what was set aside of it) this counts the requests, or converts them.
    Of an audit log it follows the chain of digests: a line that was changed, taken out or put in ends with status 1.
    Lines missing at the end don't show in the chain: compare the last digest with one that was kept elsewhere.
    """
    from serving.logs.audit import is_audit_log
    from serving.logs.read import Choice

    if (form is None) != (out is None):
        raise click.UsageError("--to and --out go together.")
    if is_audit_log(log):
        if form is not None:
            raise click.UsageError(f"{log} is an audit log: it can be verified, not converted.")
        return _verify(log, as_json=as_json)
    choice = Choice(model, model_version, signature)
    if form is None or out is None:
        _count(log, choice, as_json=as_json)
    else:
        _convert(log, choice, form, out, as_json=as_json)
    return 0


def _verify(log: Path, *, as_json: bool) -> int:
    from dataclasses import asdict

    from serving.logs.audit import verify_audit_log

    report = verify_audit_log(log)
    if as_json:
        print_json({"log": str(log), "intact": not report.error, **asdict(report)})
    elif report.error:
        click.echo(f"{log}: {report.error}", err=True)
    else:
        click.echo(f"{log}: {report.num_lines} lines, none missing between them; last digest {report.last_digest}")
    return 1 if report.error else 0


def _count(log: Path, choice: "Choice", *, as_json: bool) -> None:
    from serving.errors import Code
    from serving.logs.read import read_log

    counts: Counter[tuple[str, int, str, str]] = Counter()
    for record in read_log(log):
        if choice.takes(record) or record.code != Code.OK:
            spec = record.spec
            counts[spec.name, spec.version or 0, spec.signature_name, record.code.name] += 1
    columns = ("model", "version", "signature", "status", "requests")
    rows = [(*key, count) for key, count in sorted(counts.items())]
    if as_json:
        print_json({"log": str(log), "requests": [dict(zip(columns, row, strict=True)) for row in rows]})
    else:
        print_table(str(log), ("model", ">version", "signature", "status", ">requests"), rows)


def _convert(log: Path, choice: "Choice", form: str, out: Path, *, as_json: bool) -> None:
    import csv

    import numpy as np

    from serving.logs.read import flatten_columns, join_records, read_log, write_warmup

    records = (record for record in read_log(log) if choice.takes(record))
    if form == "warmup":
        count = write_warmup(records, out)
    else:
        arrays = join_records(records)
        count = len(arrays["version"])
        if form == "npz":
            with out.open("wb") as file:  # given a path, NumPy would add its suffix
                # Strings as NumPy's bytes: object arrays would have to be pickled.
                plain = {name: array.astype("S") if array.dtype == object else array for name, array in arrays.items()}
                np.savez(file, allow_pickle=False, **plain)
        else:
            headings, rows = flatten_columns(arrays)
            with out.open("w", newline="", encoding="utf-8") as table:
                writer = csv.writer(table)
                writer.writerow(headings)
                writer.writerows(rows)
    what = "records" if form == "warmup" else "examples"
    if as_json:
        print_json({"log": str(log), "out": str(out), what: count})
    else:
        click.echo(f"{out}: {count} {what}")
