"""Resizing of one image `(height, width, channels)` as an explicit matrix; pixel centres lie at i + 1/2."""

from dataclasses import dataclass

import numpy as np

from tests.oracles import rules
from tests.oracles.matrices import Affine


def nearest(size, new_size):
    """`(new_size, size)`: the pixel whose area the new centre lies in."""
    rows = np.zeros((new_size, size))
    centres = (np.arange(new_size) + 0.5) * size / new_size
    rows[np.arange(new_size), np.minimum(np.floor(centres).astype(int), size - 1)] = 1
    return rows


def bilinear(size, new_size):
    """`(new_size, size)`: the two centres around the new one, in proportion to their nearness; the edge goes on."""
    rows = np.zeros((new_size, size))
    for index in range(new_size):
        place = (index + 0.5) * size / new_size - 0.5
        low = int(np.floor(place))
        for pixel, weight in ((low, low + 1 - place), (low + 1, place - low)):
            rows[index, np.clip(pixel, 0, size - 1)] += weight
    return rows


@dataclass
class Resizing:
    """y = M_height x M_width^T for each channel, shared in proportion to the summands; of raw input, to the weights."""

    new_size: tuple[int, int]
    weights: object
    preprocessing: bool = False

    def _affine(self, shape):
        height, width = (self.weights(size, new) for size, new in zip(shape, self.new_size, strict=False))
        matrix = np.kron(np.kron(height, width), np.eye(shape[-1])).T
        return Affine(matrix, None, matrix > 0, (*self.new_size, shape[-1]))

    def forward(self, x):
        affine = self._affine(x.shape)
        return (x.ravel() @ affine.matrix).reshape(affine.output_shape)

    def backward(self, R, inputs, output, settings):
        (x,) = inputs
        affine = self._affine(x.shape)
        if self.preprocessing:
            return [(affine.matrix @ R.ravel()).reshape(x.shape)]
        return [rules.average(x.ravel(), affine, R.ravel()).reshape(x.shape)]
