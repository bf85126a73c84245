"""Reads examples by the file's suffix: .npy, .npz, .json, .csv or a picture."""

import base64
import binascii
import csv
import json
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from serving.types import TensorInfo
from whyserve.errors import CommandError
from whyserve.inputs.fit import Examples, fit, only_input

PICTURES = (".png", ".jpg", ".jpeg", ".bmp", ".gif")
# Arrays and columns of these names hold the truth, not an input.
LABELS = ("labels", "label")


def read_examples(path: Path, specs: Mapping[str, TensorInfo], *, pixel_max: float = 255.0) -> Examples:
    """Reads a batch of examples for a model.

    Args:
        path: The file; its suffix says what it is.
        specs: The model's inputs by name.
        pixel_max: The value of a full pixel that the model was trained on, for pictures.

    Returns:
        The batch.

    Raises:
        CommandError: The file can't be read, or does not hold what the model takes.
    """
    suffix = path.suffix.lower()
    if suffix in PICTURES:
        from whyserve.inputs.image import read_image

        examples = read_image(path, only_input(specs, "A picture"), pixel_max=pixel_max)
    else:
        readers = {".npy": _read_npy, ".npz": _read_npz, ".json": _read_json, ".csv": _read_csv}
        if suffix not in readers:
            known = ", ".join((*readers, *PICTURES))
            raise CommandError(f"Expected a file that ends in one of {known}. Received: {path}")
        examples = _read(path, readers[suffix], specs)
    return _checked(examples, path)


def _read(path: Path, reader: Any, specs: Mapping[str, TensorInfo]) -> Examples:
    try:
        examples: Examples = reader(path, specs)
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, csv.Error, RecursionError) as error:
        raise CommandError(f"Can't read {path}: {error}") from error
    return examples


def _checked(examples: Examples, path: Path) -> Examples:
    """At least one example, and as many in every input."""
    rows = {name: len(array) for name, array in examples.inputs.items()}
    if len(set(rows.values())) != 1 or examples.rows == 0:
        raise CommandError(f"Expected one or more examples, as many in every input. Received: {rows} in {path}")
    return examples


def _read_npy(path: Path, specs: Mapping[str, TensorInfo]) -> Examples:
    spec = only_input(specs, "An .npy file")
    return Examples({spec.name: fit(np.load(path, allow_pickle=False), spec)})


def _read_npz(path: Path, specs: Mapping[str, TensorInfo]) -> Examples:
    with np.load(path, allow_pickle=False) as archive:
        arrays = {name: archive[name] for name in archive.files}
    labels = next((arrays.pop(name) for name in LABELS if name in arrays and name not in specs), None)
    if len(specs) == 1 and len(arrays) == 1:
        arrays = dict(zip(specs, arrays.values(), strict=True))
    inputs = {name: fit(_named(arrays, name, path), spec) for name, spec in specs.items()}
    return Examples(inputs, None if labels is None else tuple(str(label) for label in labels.ravel().tolist()))


def _named(arrays: Mapping[str, Any], name: str, path: Path) -> Any:
    if name not in arrays:
        raise CommandError(f"Expected an entry '{name}' in {path}. Received: {', '.join(arrays) or 'none'}")
    return arrays[name]


def _read_json(path: Path, specs: Mapping[str, TensorInfo]) -> Examples:
    """A TensorFlow Serving body, rows (`instances`) or columns (`inputs`), or a bare list of rows."""
    body = json.loads(path.read_bytes())
    notes = []
    if isinstance(body, dict) and "signature_name" in body:
        notes.append("`signature_name` in the file is not used: the command chooses the signature")
    if isinstance(body, dict) and "inputs" in body:
        columns = body["inputs"]
        if not isinstance(columns, dict) or set(columns) == {"b64"}:
            columns = {only_input(specs, "A plain `inputs` list").name: columns}
    else:
        columns = _columns_of(_rows_of(body, path), specs, path)
    arrays = {name: fit(_array(_named(columns, name, path), spec), spec) for name, spec in specs.items()}
    return Examples(arrays, notes=tuple(notes))


def _rows_of(body: Any, path: Path) -> list[Any]:
    rows = body.get("instances") if isinstance(body, dict) else body
    if not isinstance(rows, list) or not rows:
        raise CommandError(
            f'Expected {{"instances": [...]}}, {{"inputs": ...}} or a list of examples. Received: none in {path}'
        )
    return rows


def _columns_of(rows: list[Any], specs: Mapping[str, TensorInfo], path: Path) -> dict[str, Any]:
    if not isinstance(rows[0], dict) or set(rows[0]) == {"b64"}:
        return {only_input(specs, "A list of plain values").name: rows}
    return {name: [_named(row, name, path) for row in rows] for name in specs}


def _array(value: Any, spec: TensorInfo) -> np.ndarray:
    """Nested lists as an array; `{"b64": ...}` is bytes. Ragged lists raise a ValueError."""
    if spec.dtype != object:
        return np.array(_decoded(value))
    array = np.array(_decoded(value), object)
    if any(isinstance(item, list) for item in array.ravel()):
        raise ValueError("lists of different lengths")
    return array


def _decoded(value: Any) -> Any:
    if isinstance(value, list):
        return [_decoded(item) for item in value]
    if isinstance(value, dict) and set(value) == {"b64"}:
        try:
            return base64.b64decode(value["b64"], validate=True)
        except (binascii.Error, TypeError) as error:
            raise CommandError(f'Expected base64 text under "b64". Received: {value["b64"]!r}') from error
    return value


def _read_csv(path: Path, specs: Mapping[str, TensorInfo]) -> Examples:
    """Rows of numbers, with or without a header; a column `label` is the truth; columns may be named after inputs."""
    with path.open(newline="", encoding="utf-8-sig") as file:
        rows = [row for row in csv.reader(file) if row]
    if not rows:
        raise CommandError(f"Expected rows of comma-separated values. Received: {path}, which is empty")
    ragged = next((number for number, row in enumerate(rows, 1) if len(row) != len(rows[0])), None)
    if ragged is not None:
        raise CommandError(
            f"Expected {len(rows[0])} values in every row of {path}. Received: {len(rows[ragged - 1])} in row {ragged}"
        )
    header = None if all(_is_number(cell) for cell in rows[0]) else [cell.strip() for cell in rows.pop(0)]
    columns = list(zip(*rows, strict=True)) if rows else [()] * len(header or ())
    labels = None
    if header and (found := [index for index, name in enumerate(header) if name in LABELS and name not in specs]):
        labels = tuple(cell.strip() for cell in columns.pop(found[0]))
        header.pop(found[0])
    if header and set(specs) <= set(header):
        inputs = {name: fit(_numbers(columns[header.index(name)], spec), spec) for name, spec in specs.items()}
        return Examples(inputs, labels)
    spec = only_input(specs, "A .csv file whose columns are not named after the inputs")
    array = np.stack([_numbers(column, spec) for column in columns], axis=1)  # (batch, features)
    return Examples({spec.name: fit(array, spec)}, labels, tuple(header or ()))


def _numbers(cells: tuple[str, ...], spec: TensorInfo) -> np.ndarray:
    return np.array([cell.encode() for cell in cells], object) if spec.dtype == object else np.array(cells, np.float64)


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True
