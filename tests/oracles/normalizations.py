"""Normalizations of one example in NumPy float64: the divisor takes nothing (Achtibat et al. 2024, Prop. 3.4).

What is left is affine: y = (x - m) scale + shift, where m is a mean, or zero. Relevance is shared in proportion to the
summands, and a mean's goes to what it is the mean of.
"""

from dataclasses import dataclass

import numpy as np

from tests.oracles import rules


@dataclass
class Unit:
    """x / |x| along an axis: relevance passes whole."""

    axis: int = -1

    def forward(self, x):
        return x / np.sqrt((x**2).sum(axis=self.axis, keepdims=True))

    def backward(self, R, inputs, output, settings):
        return [R]


@dataclass
class Group:
    """Groups of channels, each with the mean and deviation of all its elements (Wu and He 2018)."""

    groups: int
    gamma: np.ndarray
    beta: np.ndarray
    epsilon: float

    def _split(self, x):
        return x.reshape(-1, self.groups, x.shape[-1] // self.groups)

    def _parts(self, x):
        grouped = self._split(x)
        mean = np.broadcast_to(grouped.mean(axis=(0, 2), keepdims=True), grouped.shape)
        divisor = np.sqrt(grouped.var(axis=(0, 2), keepdims=True) + self.epsilon)
        scale = self._split(np.broadcast_to(self.gamma, x.shape)) / divisor
        return grouped, mean, scale

    def forward(self, x):
        grouped, mean, scale = self._parts(x)
        return ((grouped - mean) * scale).reshape(x.shape) + self.beta

    def backward(self, R, inputs, output, settings):
        (x,) = inputs
        grouped, mean, scale = self._parts(x)
        own, of_mean, _ = rules.norm(
            [grouped * scale, -mean * scale, self._split(np.broadcast_to(self.beta, x.shape))],
            self._split(output),
            self._split(R),
        )
        count = grouped.shape[0] * grouped.shape[2]
        (back,) = rules.norm([grouped / count], mean, of_mean.sum(axis=(0, 2), keepdims=True))
        return [(own + back).reshape(x.shape)]
