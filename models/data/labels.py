"""The check that labels go with their images and classes."""

from pathlib import Path

import numpy as np
import numpy.typing as npt

from models.errors import DataSetCorruptError


def check_labels(path: Path, labels: npt.NDArray[np.int64], *, num_examples: int, num_classes: int) -> None:
    """Refuses labels that do not fit.

    Raises:
        DataSetCorruptError: Not one label an image, or a label that is no class.
    """
    if len(labels) != num_examples:
        raise DataSetCorruptError(f"{path} must hold {num_examples} labels, one an image. Received: {len(labels)}.")
    if num_examples == 0:
        raise DataSetCorruptError(f"{path} must hold at least one example. Received: none.")
    if labels.min() < 0 or labels.max() >= num_classes:
        raise DataSetCorruptError(
            f"{path} must hold labels from 0 to {num_classes - 1}. Received: {labels.min()} to {labels.max()}."
        )
