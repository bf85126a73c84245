"""Where a model comes from: a run folder of `whyserve train`, or any `.keras` file."""

import json
import re
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras

from export.errors import SourceError
from export.precision import in_float32, reduced_dtypes
from export.symbolic import with_known_inputs

MODEL_FILE = "model.keras"
RUN_FILE = "run.json"
METRICS_FILE = "metrics.json"
SAMPLES_FILE = "samples.npz"

# How Keras 3.15 says it, before a page of the model's configuration.
_UNKNOWN_CLASS = re.compile(r"Could not locate (?:class|function) '([^']*)'")
_ARCHIVE_MEMBERS = ("config.json", "metadata.json", "model.weights.h5")


@dataclass(frozen=True)
class Source:
    """A model that was loaded, and what is known of how it was trained.

    Args:
        model: The model, functional or sequential; a subclassed one comes wrapped in a functional one.
        path: The `.keras` file.
        run: Content of the run folder's `run.json`; None for a lone file.
        metrics: Content of the run folder's `metrics.json`; None where there is none.
        samples: The run folder's held-out examples; None where there are none.
        notes: What was changed to make the model fit for serving, in words.
    """

    model: keras.Model
    path: Path
    run: dict[str, Any] | None = None
    metrics: dict[str, Any] | None = None
    samples: Path | None = None
    notes: tuple[str, ...] = ()

    @property
    def class_labels(self) -> tuple[str, ...]:
        """Labels of the classes, in the order of the scores; empty where they are not known."""
        return tuple(str(label) for label in (self.run or {}).get("class_labels", ()))

    @property
    def input_range(self) -> tuple[float, float] | None:
        """Smallest and largest raw value of the input; None where it is not known."""
        low_high = (self.run or {}).get("pixel_range")
        return None if low_high is None else (float(low_high[0]), float(low_high[1]))

    @property
    def preprocessing(self) -> str:
        """What is done to raw values, and where."""
        if self.run is None:
            return "What the model does itself is inside the graphs; what was done to its inputs before is not known."
        return str(
            self.run.get("preprocessing", "Inside the graphs: clients send raw values, as the data set holds them.")
        )


def load_source(path: Path) -> Source:
    """Load a run folder or a `.keras` file, uncompiled and in Keras' safe mode: a file can't bring code of its own.

    Raises:
        SourceError: There is nothing there, the training is unfinished, or the file isn't a model that can be loaded.
    """
    if not path.exists():
        raise SourceError(f"Expected a run folder or a `.keras` file. Received: {path}, which does not exist.")
    if path.is_dir():
        return _load_run(path)
    model, notes = load_keras_file(path)
    return Source(model, path, notes=notes)


def load_keras_file(path: Path) -> tuple[keras.Model, tuple[str, ...]]:
    """Load one `.keras` file for inference in single precision; also returns what had to be changed for that.

    Raises:
        SourceError: The file isn't a complete `.keras` archive, holds a Lambda, or names a class that isn't registered.
    """
    _check_archive(path)
    model = _load(path)
    if not isinstance(model, keras.Model):
        raise SourceError(f"{path} must hold a `keras.Model`. Received: a {type(model).__name__}.")
    notes: tuple[str, ...] = ()
    if reduced := reduced_dtypes(model):
        notes = (f"computed in {' and '.join(reduced)} in training; served in float32",)
        model = in_float32(model)
    return with_known_inputs(model, str(path)), notes


def _load_run(folder: Path) -> Source:
    if not (folder / RUN_FILE).is_file():
        raise SourceError(
            f"Expected a run folder with {RUN_FILE}, which training writes when it is done. Received: {folder} "
            "without it. "
            "Run the same `whyserve train ... --out` again: it resumes an interrupted training."
        )
    if not (folder / MODEL_FILE).is_file():
        raise SourceError(f"Expected {MODEL_FILE} in the run folder. Received: {folder} without it. Train again.")
    run = _read_json(folder / RUN_FILE)
    metrics = _read_json(folder / METRICS_FILE) if (folder / METRICS_FILE).is_file() else None
    samples = folder / SAMPLES_FILE
    model, notes = load_keras_file(folder / MODEL_FILE)
    return Source(model, folder / MODEL_FILE, run, metrics, samples if samples.is_file() else None, notes)


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise SourceError(f"{path} must be JSON. Received: {error}. Train again.") from error
    if not isinstance(content, dict):
        raise SourceError(f"{path} must be a JSON object. Received: {type(content).__name__}. Train again.")
    return content


def _check_archive(path: Path) -> None:
    if path.suffix != ".keras":
        raise SourceError(
            f"Expected a run folder or a file ending in `.keras`. Received: {path}. "
            "Load the model where it was made and write it with `model.save('my_model.keras')`."
        )
    if not zipfile.is_zipfile(path):
        raise SourceError(
            f"{path} is not a `.keras` archive: it is truncated or another kind of file. Copy or save it again."
        )
    try:
        with zipfile.ZipFile(path) as archive:
            missing = [name for name in _ARCHIVE_MEMBERS if name not in archive.namelist()]
            broken = None if missing else archive.testzip()
            config = b"" if missing or broken else archive.read("config.json")
    except (zipfile.BadZipFile, OSError, EOFError, NotImplementedError, RuntimeError) as error:
        raise SourceError(f"{path} is not a complete `.keras` archive: {error}. Copy or save it again.") from error
    if missing or broken:
        fault = f"lacks {', '.join(missing)}" if missing else f"has a damaged {broken}"
        raise SourceError(f"{path} is not a complete `.keras` archive: it {fault}. Copy or save it again.")
    _refuse_lambda(path, config)


def _refuse_lambda(path: Path, config: bytes) -> None:
    try:
        layers = list(_lambda_layers(json.loads(config)))
    except (ValueError, RecursionError) as error:
        raise SourceError(f"{path} is not a `.keras` archive: its config.json can't be read: {error}.") from error
    if layers:
        raise SourceError(
            f"{path} holds {'a Lambda layer' if len(layers) == 1 else 'Lambda layers'} ({', '.join(layers)}): Python "
            "code that "
            "loading would run, which safe mode forbids. Put `keras.ops` functions or a registered layer in its place "
            "and "
            "save the model again."
        )


def _lambda_layers(config: object) -> Iterator[str]:
    if isinstance(config, dict):
        if config.get("class_name") in ("Lambda", "__lambda__"):
            inner = config.get("config")
            name = inner.get("name") if isinstance(inner, dict) else None
            yield repr(name or "without a name")
            return
        config = list(config.values())
    if isinstance(config, list):
        for item in config:
            yield from _lambda_layers(item)


def _load(path: Path) -> object:
    try:
        return keras.saving.load_model(path, compile=False, safe_mode=True)
    except (ValueError, TypeError, KeyError, AttributeError, ImportError, OSError, RuntimeError) as error:
        if unknown := _UNKNOWN_CLASS.search(str(error)):
            raise SourceError(
                f"{path} names a class that isn't registered here: {unknown[1]!r}. Name the module that registers it "
                "(`@keras.saving.register_keras_serializable`): `--import MODULE`; from Python, import it first."
            ) from error
        raise SourceError(f"Keras can't load {path}: {type(error).__name__}: {error}") from error
