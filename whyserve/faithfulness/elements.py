"""What is deleted and inserted: the elements of all inputs of a batch as one row an example.

Of an image an element is a square region of pixels with all their channels: single pixels that change leave patterns
that no image has, and gradients are good at finding such. Samek et al. 2017 flip regions, Petsiuk et al. 2018 mask a
grid of 7 x 7. Of every other input each number, or token id, is an element.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

Arrays = Mapping[str, np.ndarray]

IMAGE_RANK = 4
GRID = 7


@dataclass(frozen=True)
class Elements:
    """The inputs that are perturbed, with the value that stands for what isn't there.

    Args:
        baselines: For each of these inputs the value of each number, in the shape of one example. Token ids have the
            padding's id.
        region: Side of an image's regions in pixels; those at the lower and right edge may be smaller.
    """

    baselines: Arrays
    region: int = 1

    def scores(self, relevance: Arrays) -> np.ndarray:
        """The attribution of each element, `(batch, elements) float64`: summed over its channels and pixels."""
        return np.concatenate([self._summed(name, relevance[name]) for name in self.baselines], axis=1)

    def replaced(self, inputs: Arrays, absent: np.ndarray) -> dict[str, np.ndarray]:
        """The inputs without some of their elements.

        Args:
            inputs: Arrays, batch first.
            absent: `(batch, elements) bool`.

        Returns:
            All inputs, of the same dtypes and shapes.
        """
        result, start = dict(inputs), 0
        for name, baseline in self.baselines.items():
            values, element_of = inputs[name], self._element_of(name)
            gone = absent[:, start + element_of]  # (batch, places)
            start += int(element_of[-1]) + 1
            rows, absence = _rows(values), _rows(baseline[None]).astype(values.dtype)  # (batch, places, channels)
            result[name] = np.where(gone[..., None], absence, rows).reshape(values.shape)
        return result

    def _summed(self, name: str, relevance: np.ndarray) -> np.ndarray:
        places = _rows(np.asarray(relevance, np.float64)).sum(axis=2)  # (batch, places)
        element_of = self._element_of(name)
        return np.stack([np.bincount(element_of, row) for row in places])

    def _element_of(self, name: str) -> np.ndarray:
        """The element that each place belongs to, `(places,) int`; the last place belongs to the last one."""
        shape = self.baselines[name].shape
        if len(shape) != IMAGE_RANK - 1:
            return np.arange(int(np.prod(shape)))
        rows, columns = (np.arange(size) // self.region for size in shape[:2])
        return (rows[:, None] * (columns[-1] + 1) + columns).ravel()


def default_region(baselines: Arrays) -> int:
    """A seventh of the smallest image's side, 1 at least, and 1 where there is no image."""
    sides = [min(array.shape[:2]) for array in baselines.values() if array.ndim == IMAGE_RANK - 1]
    return max(1, round(min(sides, default=1) / GRID))


def mean_baseline(values: np.ndarray) -> np.ndarray:
    """The mean of the data: of each feature, and of images one for each channel, or a ghost of the data would stay."""
    mean = values.astype(np.float64).mean(axis=tuple(range(values.ndim - 1)) if values.ndim == IMAGE_RANK else 0)
    return np.broadcast_to(mean, values.shape[1:]).copy()


def _rows(values: np.ndarray) -> np.ndarray:
    """`(batch, places, channels)`; channels are more than one in images only."""
    channels = values.shape[-1] if values.ndim == IMAGE_RANK else 1
    return values.reshape(len(values), -1, channels)
