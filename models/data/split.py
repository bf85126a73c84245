"""The stratified, seeded split of a data set."""

import numpy as np

from models.data.dataset import Examples
from models.errors import DataSetCorruptError


def stratified_split(examples: Examples, share: float, seed: int) -> tuple[Examples, Examples]:
    """Parts examples in two with the same share of every class, by scikit-learn's `train_test_split`.

    Args:
        examples: What is parted.
        share: Share of the second part, in (0, 1).
        seed: Of the shuffle; the same seed gives the same parts.

    Returns:
        The larger part and the part held out, each in the order of the original.

    Raises:
        DataSetCorruptError: There are too few examples.
    """
    from sklearn.model_selection import train_test_split

    classes, counts = np.unique(examples.labels, return_counts=True)
    if counts.min() < 2 or share * len(examples) < len(classes):
        raise DataSetCorruptError(
            f"A stratified split with a share of {share:.3g} needs every class on both sides. Received: "
            f"{len(examples)} examples of {len(classes)} classes, the rarest with {counts.min()}. Bring more data."
        )
    kept, held_out = train_test_split(
        np.arange(len(examples)), test_size=share, random_state=seed, stratify=examples.labels
    )
    return _choose(examples, kept), _choose(examples, held_out)


def _choose(examples: Examples, indices: np.ndarray) -> Examples:
    ordered = np.sort(indices)
    return Examples(examples.images[ordered], examples.labels[ordered])
