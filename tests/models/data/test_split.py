import numpy as np
import pytest

from models.data.dataset import Examples
from models.data.split import stratified_split
from models.errors import DataSetCorruptError


def examples(counts):
    labels = np.repeat(np.arange(len(counts)), counts)
    return Examples(np.arange(len(labels), dtype=np.uint8).reshape(-1, 1, 1, 1), labels)


def test_parts_are_whole_disjoint_and_of_the_same_shares():
    kept, held_out = stratified_split(examples([100, 60, 40]), 0.1, 0)
    np.testing.assert_array_equal(np.bincount(held_out.labels), [10, 6, 4])
    pixels = np.concatenate([kept.images.ravel(), held_out.images.ravel()])
    np.testing.assert_array_equal(np.sort(pixels), np.arange(200))
    # Images stay with their labels.
    np.testing.assert_array_equal(held_out.labels, np.digitize(held_out.images.ravel(), [100, 160]))


@pytest.mark.parametrize(("seed", "equal"), [(7, True), (8, False)])
def test_the_seed_decides(seed, equal):
    first = stratified_split(examples([50, 50]), 0.2, 7)[1].images
    second = stratified_split(examples([50, 50]), 0.2, seed)[1].images
    assert np.array_equal(first, second) == equal


@pytest.mark.parametrize(("counts", "rarest"), [([9, 1], 1), ([3, 3], 3)])
def test_too_few_examples_are_refused(counts, rarest):
    with pytest.raises(DataSetCorruptError, match=rf"examples of 2 classes, the rarest with {rarest}. Bring more data"):
        stratified_split(examples(counts), 0.1, 0)
