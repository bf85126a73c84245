"""From a configuration to a run folder."""

import platform
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from models import data, registry
from models.architecture import Architecture
from models.data.dataset import DataSet
from models.files import write_atomically, write_json
from models.progress import Progress, SilentProgress
from models.run_folder import (
    CONFUSION_MATRIX_FILE,
    CURVES_FILE,
    HISTORY_FILE,
    METRICS_FILE,
    MODEL_FILE,
    SAMPLES_FILE,
    RunRecord,
    check_folder,
    open_checkpoints,
    write_record,
)  # fmt: skip
from models.training.config import TrainingConfig
from models.training.state import TrainingState, load_state

PACKAGES = ("tensorflow", "keras", "numpy", "scikit-learn")


@dataclass(frozen=True)
class RunResult:
    """What a training came to.

    Args:
        path: The run folder.
        record: The content of its `run.json`.
        metrics: The content of its `metrics.json`: figures on the test set, under `validation` those on that set.
        resumed_from_epoch: Epochs that were done before this call; 0 for a training in one piece.
    """

    path: Path
    record: RunRecord
    metrics: dict[str, Any]
    resumed_from_epoch: int


def train(config: TrainingConfig, out: Path, progress: Progress | None = None, *, overwrite: bool = False) -> RunResult:
    """Trains a model and writes its run folder.

    An interrupted training leaves its state in `<out>/checkpoints`; the same call continues it with the same result, on
    a CPU, as if it had not been interrupted. Seeds Python, NumPy and TensorFlow.

    Args:
        config: What is trained, and how.
        out: The run folder; made where it is missing.
        progress: Told of every batch and epoch; nothing is shown by default.
        overwrite: Remove a run that is in `out`.

    Returns:
        Where the run is, and its figures.

    Raises:
        ModelsError: A wrong name or option, data that can't be had, a folder that holds something else, a loss that is
            not finite.

    Example:
        >>> from models.training import TrainingConfig, train
        >>> train(TrainingConfig(architecture="cnn", data="digits", epochs=15), Path("runs/cnn-digits"))
    """
    progress = progress or SilentProgress()
    architecture = registry.architecture(config.architecture)
    architecture.check_options(config.architecture_options)
    entry = data.dataset(config.data)
    check_folder(out, overwrite=overwrite)
    data_set = entry.load(config.split_seed, progress)
    with open_checkpoints(out, overwrite=overwrite) as checkpoints:
        result = _train(architecture, config, data_set, out=out, checkpoints=checkpoints, progress=progress)
    progress.message(f"training: test accuracy {result.metrics['accuracy']:.4f}, written to {out}")
    return result


def _train(
    architecture: Architecture,
    config: TrainingConfig,
    data_set: DataSet,
    *,
    out: Path,
    checkpoints: Path,
    progress: Progress,
) -> RunResult:
    """Fits, evaluates and writes; `run.json` last."""
    state = load_state(checkpoints, config.as_json(), data_set.digest())
    if state.epochs:
        progress.message(f"training: continuing after epoch {state.epochs} of {config.epochs}")
    progress.message("training: loading TensorFlow")

    from models.training import fitting

    model, final = fitting.fit(architecture, data_set, config, folder=checkpoints, state=state, progress=progress)
    metrics = _write_results(out, model, data_set, config, final)
    record = _record(model, data_set, config, final, kept_epoch=fitting.kept_epoch(final, config))
    write_record(out, record)
    return RunResult(out, record, metrics, resumed_from_epoch=state.epochs)


def _write_results(
    out: Path, model: Any, data_set: DataSet, config: TrainingConfig, state: TrainingState
) -> dict[str, Any]:
    """Writes everything but `run.json`, and returns the metrics."""
    from models.training.plots import plot_confusion_matrix, plot_curves
    from models.training.samples import choose_samples, write_samples

    metrics = _evaluate(model, data_set)
    write_atomically(out / MODEL_FILE, model.save)
    write_json(out / HISTORY_FILE, state.history)
    write_json(out / METRICS_FILE, metrics)
    plot_curves(out / CURVES_FILE, state.history, state.best_epoch)
    plot_confusion_matrix(out / CONFUSION_MATRIX_FILE, metrics["confusion_matrix"], data_set.class_labels)
    write_samples(out / SAMPLES_FILE, model.inputs[0].name, choose_samples(data_set.test, config.split_seed))
    return metrics


def _evaluate(model: Any, data_set: DataSet) -> dict[str, Any]:
    """Figures on the test set, and under `validation` on the validation set."""
    from models.training.evaluation import classification_metrics
    from models.training.fitting import predict

    figures = {
        name: classification_metrics(examples.labels, predict(model, examples), data_set.class_labels)
        for name, examples in (("test", data_set.test), ("validation", data_set.validation))
    }
    return {**figures["test"], "validation": figures["validation"]}


def _record(
    model: Any, data_set: DataSet, config: TrainingConfig, state: TrainingState, *, kept_epoch: int
) -> RunRecord:
    return RunRecord(
        architecture=config.architecture,
        task=registry.architecture(config.architecture).task,
        data={
            "name": data_set.name,
            "digest": data_set.digest(),
            "sizes": data_set.sizes,
            "source": data_set.source,
        },
        class_labels=list(data_set.class_labels),
        seed=config.seed,
        config=config.as_json(),
        packages={"python": platform.python_version(), **{name: version(name) for name in PACKAGES}},
        duration_s=round(state.duration_s, 3),
        input_name=model.inputs[0].name,
        pixel_range=list(data_set.pixel_range),
        num_parameters=model.count_params(),
        epochs=state.epochs,
        best_epoch=state.best_epoch,
        kept_epoch=kept_epoch,
    )
