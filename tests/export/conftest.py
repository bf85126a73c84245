"""Models, a run folder and an exported bundle that the tests of this folder share."""

import json
import shutil
from pathlib import Path

import keras
import numpy as np
import pytest

from export.bundle import export_bundle
from tests.export.models import image_model

HERE = Path(__file__).parent
# Keras 3.15 copies variables with an __array__ that NumPy 2.4 calls old-fashioned whenever it saves weights.
KERAS_COPIES = (
    "ignore:__array__ implementation doesn't accept a copy keyword:DeprecationWarning:keras.src.backend.tensorflow.core"
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.filterwarnings(KERAS_COPIES))


@pytest.fixture(scope="session")
def run_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run folder as `whyserve train` leaves it, with random weights and random images for data."""
    folder = tmp_path_factory.mktemp("run")
    keras.utils.set_random_seed(7)
    image_model().save(folder / "model.keras")
    images = np.random.default_rng(7).integers(0, 17, (32, 8, 8, 1)).astype(np.float32)
    np.savez(folder / "samples.npz", image=images, labels=np.arange(32, dtype=np.int64) % 3)
    run = {
        "schema_version": 1,
        "architecture": "cnn",
        "task": "classification",
        "data": {"name": "digits", "digest": "ab" * 32, "sizes": {"train": 8, "test": 4}, "source": "made up"},
        "class_labels": ["cat", "dog", "owl"],
        "seed": 7,
        "config": {"epochs": 0},
        "packages": {"keras": keras.__version__},
        "duration_s": 0.1,
    }
    (folder / "run.json").write_text(json.dumps(run))
    (folder / "metrics.json").write_text(json.dumps({"accuracy": 0.5, "roc_auc": float("nan"), "num_examples": 4}))
    return folder


@pytest.fixture(scope="session")
def published(run_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[str]]:
    """The bundle of the run folder, not to be changed, and the lines of progress that its export gave."""
    lines: list[str] = []
    repository = tmp_path_factory.mktemp("repository")
    return export_bundle(run_folder, repository=repository, name="digits", progress=lines.append), lines


@pytest.fixture(scope="session")
def bundle(published: tuple[Path, list[str]]) -> Path:
    """The bundle of the run folder, not to be changed."""
    return published[0]


@pytest.fixture
def copy(bundle: Path, tmp_path: Path) -> Path:
    """A copy of the bundle to spoil."""
    return Path(shutil.copytree(bundle, tmp_path / "digits" / "1"))
