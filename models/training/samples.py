"""The held-out inputs that a run folder carries for parity checks, warm-up and calibration."""

from pathlib import Path

import numpy as np

from models.data.dataset import Examples
from models.files import write_atomically

NUM_SAMPLES = 32


def choose_samples(examples: Examples, seed: int) -> Examples:
    """Up to 32 examples, the classes in turn, so that each is there; the same seed chooses the same ones.

    Args:
        examples: The test set.
        seed: Of the choice within each class.
    """
    order = np.random.default_rng(seed).permutation(len(examples))
    labels = examples.labels[order]
    # Rank of each example within its class: all firsts come before all seconds.
    ranks = np.empty(len(order), np.int64)
    for label in np.unique(labels):
        ranks[labels == label] = np.arange(np.count_nonzero(labels == label))
    chosen = order[np.lexsort((labels, ranks))][:NUM_SAMPLES]
    return Examples(examples.images[chosen], examples.labels[chosen])


def write_samples(path: Path, input_name: str, samples: Examples) -> None:
    """Writes an `.npz` with the raw inputs `(samples, ...) float32` under the input's name, and `labels` int64."""
    arrays = {input_name: samples.images.astype(np.float32), "labels": samples.labels}

    def write(temporary: Path) -> None:
        with temporary.open("wb") as stream:
            np.savez_compressed(stream, **arrays)  # type: ignore[arg-type]

    write_atomically(path, write)
