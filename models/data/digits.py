"""Handwritten digits that ship inside scikit-learn: nothing to download."""

import numpy as np

from models.data.dataset import DataSet, DataSetEntry, Examples
from models.data.split import stratified_split
from models.progress import Progress

CLASS_LABELS = tuple("0123456789")
TEST_SHARE = 0.2
VALIDATION_SHARE = 0.125  # of what the test set leaves: a tenth of everything
PIXEL_RANGE = (0.0, 16.0)  # each pixel counts the set bits of a 4x4 block


def load_digits(split_seed: int, progress: Progress) -> DataSet:
    """The 1,797 digits of 8x8 pixels, 70 % for training, 10 % for validation, 20 % for the test.

    scikit-learn embeds the test part of the UCI data set only, without its writers, so that digits of one writer lie on
    both sides of the split: figures are better than those for unseen writers.

    Args:
        split_seed: Of the split.
        progress: Told what is loaded.
    """
    from sklearn import datasets

    progress.message("data: digits, embedded in scikit-learn")
    digits = datasets.load_digits()
    examples = Examples(digits.images.astype(np.uint8)[..., np.newaxis], digits.target.astype(np.int64))
    rest, test = stratified_split(examples, TEST_SHARE, split_seed)
    train, validation = stratified_split(rest, VALIDATION_SHARE, split_seed)
    return DataSet("digits", train, validation, test, CLASS_LABELS, PIXEL_RANGE, "embedded in scikit-learn")


DIGITS = DataSetEntry(
    name="digits",
    summary="1,797 handwritten digits of 8x8 pixels, embedded in scikit-learn: nothing to download.",
    image_shape=(8, 8, 1),
    class_labels=CLASS_LABELS,
    num_examples=1797,
    source="https://archive.ics.uci.edu/dataset/80/optical+recognition+of+handwritten+digits (its test part)",
    licence="CC BY 4.0",
    citation="Alpaydin, Kaynak 1998, Cascading classifiers, Kybernetika 34",
    load=load_digits,
)
