"""A bundle of a network whose every weight is known, exported for real in a process of its own."""

import subprocess
import sys

import numpy as np
import pytest

# y = softmax of (3 a + b, 0): feature `a` counts three times as much as `b`, and `c` not at all.
PROGRAM = """
import sys
from pathlib import Path

import keras
import numpy as np

from export.bundle import export_bundle

folder = Path(sys.argv[1])
dense = keras.layers.Dense(2, activation="softmax", use_bias=False, name="y")
model = keras.Sequential([keras.Input((3,), name="row"), dense])
model.set_weights([np.array([[3.0, 0.0], [1.0, 0.0], [0.0, 0.0]])])
model.save(folder / "model.keras")
export_bundle(folder / "model.keras", repository=folder / "repository", name="linear")
"""


@pytest.fixture(scope="session")
def linear(tmp_path_factory):
    folder = tmp_path_factory.mktemp("linear")
    subprocess.run([sys.executable, "-c", PROGRAM, folder], check=True, capture_output=True)
    return folder / "repository" / "linear"


@pytest.fixture(scope="session")
def rows(tmp_path_factory):
    path = tmp_path_factory.mktemp("rows") / "rows.npz"
    np.savez(path, row=np.random.default_rng(0).uniform(0.5, 1.5, (12, 3)).astype(np.float32))
    return path
