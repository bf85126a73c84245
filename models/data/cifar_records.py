"""Reader of CIFAR's binary record layout: one byte of label, then 1,024 red, 1,024 green and 1,024 blue pixels."""

from pathlib import Path

import numpy as np

from models.data.dataset import Examples
from models.data.labels import check_labels
from models.errors import DataSetCorruptError

SIDE = 32
RECORD_BYTES = 1 + 3 * SIDE * SIDE


def parse_records(content: bytes, path: Path, num_classes: int) -> Examples:
    """Parses whole records (https://www.cs.toronto.edu/~kriz/cifar.html, "Binary version").

    Args:
        content: The records, one after the other.
        path: Where they come from, for error messages.
        num_classes: Labels must be smaller.

    Returns:
        Images `(examples, 32, 32, 3) uint8` and their labels.

    Raises:
        DataSetCorruptError: The size is no multiple of a record, or a label is no class.
    """
    if len(content) % RECORD_BYTES:
        raise DataSetCorruptError(
            f"{path} must hold records of {RECORD_BYTES} bytes (1 label, {RECORD_BYTES - 1} pixels). "
            f"Received: {len(content)} bytes, {len(content) % RECORD_BYTES} too many."
        )
    records = np.frombuffer(content, np.uint8).reshape(-1, RECORD_BYTES)
    labels = records[:, 0].astype(np.int64)
    check_labels(path, labels, num_examples=len(records), num_classes=num_classes)
    planes = records[:, 1:].reshape(-1, 3, SIDE, SIDE)
    return Examples(np.ascontiguousarray(planes.transpose(0, 2, 3, 1)), labels)  # (examples, height, width, channels)
