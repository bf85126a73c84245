"""Tokens, positions, masks and normalisation of one example in NumPy float64, as transformers have them."""

from dataclasses import dataclass

import numpy as np

from tests.oracles import rules


@dataclass
class Embedding:
    """Rows of a table; a token gets the sum over its vector, R_t = sum_d R_td."""

    table: np.ndarray

    def forward(self, tokens):
        return self.table[tokens.astype(int)]

    def backward(self, R, inputs, output, settings):
        return [R.sum(axis=-1)]


class Mask:
    """Which tokens are no padding; holds no relevance."""

    def forward(self, tokens):
        return (tokens != 0).astype(float)

    def backward(self, R, inputs, output, settings):
        return [np.zeros(R.shape)]


@dataclass
class Positions:
    """A vector added to each position, which keeps its share of the sum (z-rule)."""

    table: np.ndarray

    def forward(self, x):
        return x + self.table[: len(x)]

    def backward(self, R, inputs, output, settings):
        return rules.norm(inputs, output, R)


class MaskedMean:
    """The mean over time of what a mask allows; shares in proportion."""

    def forward(self, x, mask):
        return x[mask > 0].mean(axis=0)

    def backward(self, R, inputs, output, settings):
        x, mask = inputs
        (shares,) = rules.norm([x * (mask > 0)[:, None] / np.sum(mask > 0)], output, R)
        return [shares, np.zeros(mask.shape)]


@dataclass
class LayerNormalization:
    """y = gamma (x - mean) / deviation + beta along the last axis.

    The deviation is a constant (Achtibat et al. 2024, Prop. 3.4), and so y is affine in x: x_i contributes
    x_i (delta_ij - 1/n) gamma_j / deviation to y_j, and beta_j absorbs.
    """

    gamma: np.ndarray
    beta: np.ndarray
    epsilon: float

    def forward(self, x):
        return (x - x.mean(axis=-1, keepdims=True)) / self._deviation(x) * self.gamma + self.beta

    def backward(self, R, inputs, output, settings):
        (x,) = inputs
        size = x.shape[-1]
        centring = np.eye(size) - 1 / size  # (from, to)
        contributions = x[..., :, None] * centring * (self.gamma / self._deviation(x))[..., None, :]
        (shares,) = rules.norm([contributions], output[..., None, :], R[..., None, :])
        return [shares.sum(axis=-1)]

    def _deviation(self, x):
        return np.sqrt(x.var(axis=-1, keepdims=True) + self.epsilon)


@dataclass
class RMSNormalization:
    """y = scale x / sqrt(mean(x^2)): the divisor is a constant, and relevance passes whole (Prop. 3.4)."""

    scale: np.ndarray
    epsilon: float

    def forward(self, x):
        return x / np.sqrt(np.mean(x**2, axis=-1, keepdims=True) + self.epsilon) * self.scale

    def backward(self, R, inputs, output, settings):
        return [R]
