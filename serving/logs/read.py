"""Request logs read back: as warm-up records, or as data to train and evaluate with."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from google.protobuf.message import DecodeError

from serving.errors import Code, ServingError
from serving.logs.file import rotated_files
from serving.logs.records import Record, from_json_line, from_prediction_log, to_prediction_log
from serving.logs.requests import TFRECORD, format_of
from serving.tfrecord import encode_record, read_records
from serving.warmup import MAX_RECORDS


class LogError(ValueError):
    """A log that can't be read, or holds nothing of what was asked for."""


@dataclass(frozen=True)
class Choice:
    """Which records are wanted: those that succeeded, and of these all but what is named here.

    Attributes:
        model: Of this model only; empty: of any.
        version: Of this version only; None: of any.
        signature: Of this signature only; empty: of any.
    """

    model: str = ""
    version: int | None = None
    signature: str = ""

    def takes(self, record: Record) -> bool:
        """Whether a record is wanted."""
        spec = record.spec
        return (
            record.code == Code.OK
            and self.model in ("", spec.name)
            and self.version in (None, spec.version)
            and self.signature in ("", spec.signature_name)
        )


def read_log(path: Path) -> Iterator[Record]:
    """The records of a request log and of what was set aside of it, oldest first.

    What a server that was killed left behind the last whole record is skipped, as is what isn't a Predict.

    Raises:
        LogError: There is no such file, or it holds something else.
        OSError: It can't be read.
    """
    files = rotated_files(path)
    if not files:
        raise LogError(f"Expected a request log. Received: {path}, which doesn't exist.")
    for file in files:
        try:
            yield from _read_tfrecord(file) if format_of(file) == TFRECORD else _read_json_lines(file)
        except (ServingError, DecodeError) as error:
            raise LogError(f"Expected a request log, a TFRecord of PredictionLog. Received: {file}: {error}") from error


def write_warmup(records: Iterable[Record], path: Path) -> int:
    """Writes the newest records as a warm-up file, to be copied to `assets.extra/tf_serving_warmup_requests`.

    Args:
        records: Oldest first; records with the same signature and shapes as one that is newer are left out: another
            run of them would warm nothing up.
        path: The file.

    Returns:
        How many were written, at most 1000.
    """
    newest: dict[object, Record] = {}
    for record in records:
        key = (record.spec.signature_name, *((name, each.shape) for name, each in sorted(record.inputs.items())))
        newest.pop(key, None)
        newest[key] = record
    chosen = list(newest.values())[-MAX_RECORDS:]
    path.write_bytes(b"".join([encode_record(to_prediction_log(record)) for record in chosen]))
    return len(chosen)


def join_records(records: Iterable[Record]) -> dict[str, np.ndarray]:
    """Inputs and outputs as one array each, joined on the first dimension, under `inputs/NAME` and `outputs/NAME`.

    `version`, int64, says for each example which version answered it.

    Raises:
        LogError: The records are of several models or signatures, or their shapes differ.
    """
    columns: dict[str, list[np.ndarray]] = {}
    versions: list[int] = []
    kinds: set[tuple[str, str]] = set()
    for record in records:
        kinds.add((record.spec.name, record.spec.signature_name))
        arrays = {f"inputs/{name}": array for name, array in record.inputs.items()}
        arrays |= {f"outputs/{name}": array for name, array in record.outputs.items()}
        _check_columns(arrays, columns, kinds)
        for name, array in arrays.items():
            columns.setdefault(name, []).append(array)
        versions += [record.spec.version or 0] * len(next(iter(arrays.values())))
    if not columns:
        raise LogError("Expected at least one record of what was asked for. Received: none.")
    return {"version": np.array(versions, np.int64), **{name: np.concatenate(each) for name, each in columns.items()}}


def flatten_columns(arrays: Mapping[str, np.ndarray]) -> tuple[list[str], Iterator[Sequence[object]]]:
    """A table of joined records: its headings, as in `inputs/x[0,1]`, and a row for each example."""
    headings: list[str] = []
    columns: list[list[object]] = []
    for name, array in arrays.items():
        flat = array.reshape(len(array), -1)
        indices = [",".join(map(str, index)) for index in np.ndindex(array.shape[1:])]
        headings += [f"{name}[{index}]" if index else name for index in indices]
        columns += [_cells(flat[:, position]) for position in range(flat.shape[1])]
    return headings, zip(*columns, strict=True)


def _cells(column: np.ndarray) -> list[object]:
    if column.dtype == object:
        return [item.decode(errors="replace") if isinstance(item, bytes) else str(item) for item in column]
    # As float32 writes itself: in float64 its digits would be many, and none of them better.
    return [str(item) for item in column] if column.dtype.kind == "f" else column.tolist()


def _check_columns(
    arrays: Mapping[str, np.ndarray], columns: Mapping[str, list[np.ndarray]], kinds: set[tuple[str, str]]
) -> None:
    if len(kinds) > 1:
        shown = ", ".join(f"{model} {signature}" for model, signature in sorted(kinds))
        raise LogError(
            f"Expected records of one model and signature. Received: {shown}. Choose with --model and --signature."
        )
    if any(array.ndim == 0 for array in arrays.values()) or len({len(array) for array in arrays.values()}) > 1:
        shapes = {name: array.shape for name, array in arrays.items()}
        raise LogError(f"Expected arrays with one first dimension in common, the examples. Received: {shapes}.")
    if columns and columns.keys() != arrays.keys():
        raise LogError(f"Expected records with {sorted(columns)}. Received: one with {sorted(arrays)}.")
    for name, array in arrays.items():
        if name in columns and columns[name][0].shape[1:] != array.shape[1:]:
            raise LogError(
                f"Expected {name} of shape {columns[name][0].shape[1:]} in every record, to join them. "
                f"Received: {array.shape[1:]}."
            )


def _read_tfrecord(file: Path) -> Iterator[Record]:
    for content in read_records(file):
        record = from_prediction_log(content)
        if record is not None:
            yield record


def _read_json_lines(file: Path) -> Iterator[Record]:
    with file.open("rb") as lines:
        for number, line in enumerate(lines, start=1):
            if not line.endswith(b"\n"):
                return
            try:
                record = from_json_line(line)
            except (KeyError, TypeError, ValueError) as error:
                raise LogError(
                    f"Expected a request log in JSON lines. Received: {file}, whose line {number} is none: {error!r}."
                ) from error
            yield record
