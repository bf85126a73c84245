"""Attention of one example in NumPy float64: what it computes, and how it passes relevance, from the papers' equations.

AttnLRP: Achtibat et al. 2024, Proposition 3.1 (softmax) and 3.3 (products). CP-LRP: Ali et al. 2022, where the weights
of attention are constants, so that all relevance goes to the values. Layers have the form of `tests.oracles.layers`;
a mask `(time,)` of what is no padding may follow the signals, and gets no relevance.
"""

from dataclasses import dataclass

import numpy as np

from tests.oracles import rules
from tests.oracles.layers import Dense

BLOCKED = -1e9


def softmax(x):
    """exp(x_i) / sum_j exp(x_j) along the last axis."""
    powers = np.exp(x - x.max(axis=-1, keepdims=True))
    return powers / powers.sum(axis=-1, keepdims=True)


def softmax_relevance(x, s, R):
    """R_i = x_i (R_i - s_i sum_j R_j) with the scores x as they are (Prop. 3.1); what is blocked has s_i = 0."""
    return np.where(s == 0, 0.0, x) * (R - s * R.sum(axis=-1, keepdims=True))


def product_relevance(a, b, R, gate):
    """Both factors of Y = A B: R_ji = sum_p A_ji B_ip R_jp / (2 Y_jp + epsilon), likewise for B (Prop. 3.3).

    With A as a gate, B takes all: R_ip = sum_j A_ji B_ip R_jp / (Y_jp + epsilon) (Ali et al. 2022, eq. 7).
    """
    contributions = a[:, :, None] * b[None]  # (row, inner, column)
    y = contributions.sum(axis=1)
    shares = contributions * (R / (y + rules.NORM_EPSILON * rules.sign(y)))[:, None]
    return (np.zeros_like(a), shares.sum(axis=0)) if gate else (shares.sum(axis=2) / 2, shares.sum(axis=0) / 2)


def allowed(queries, keys, *, causal):
    """`(queries, keys) bool`: no key later than the query, where that is asked for."""
    return np.tri(queries, keys, dtype=bool) if causal else np.ones((queries, keys), bool)


@dataclass
class Weighting:
    """s = softmax(scores) where allowed, and the context s V, for one head.

    Args:
        scores: `(queries, keys)`.
        values: `(keys, width)`.
        allowed: bool `(queries, keys)`.
    """

    scores: np.ndarray
    values: np.ndarray
    allowed: np.ndarray

    @property
    def weights(self):
        """s."""
        return softmax(np.where(self.allowed, self.scores, BLOCKED))

    def context(self):
        """s V."""
        return self.weights @ self.values

    def relevance(self, R, settings):
        """Of the scores and of the values."""
        R_s, R_values = product_relevance(self.weights, self.values, R, gate=settings.attention == "gate")
        return np.where(self.allowed, softmax_relevance(self.scores, self.weights, R_s), 0.0), R_values


class MultiHead:
    """Several heads of scaled dot-product attention between projections, as many keys and values or fewer.

    Args:
        query: Kernel `(width, heads, size)` and bias `(heads, size)` of the projection.
        key: Likewise; with fewer heads each serves several queries that follow one another.
        value: Likewise.
        output: Kernel `(heads, size, width)` and bias `(width,)`.
        causal: No position sees a later one.
    """

    def __init__(self, query, key, value, output, *, causal=False):
        self.projections = [_Heads(*weights) for weights in (query, key, value)]
        self.served = query[0].shape[1] // key[0].shape[1]
        self.scale, self.causal = 1 / np.sqrt(query[0].shape[2]), causal
        self.output = Dense(output[0].reshape(-1, output[0].shape[-1]), output[1])

    def forward(self, x, y, *masks):
        return self.output.forward(_joined(self._contexts(self._projected(x, y), masks)))

    def backward(self, R, inputs, output, settings):
        x, y, *masks = inputs
        q, k, _ = heads = self._projected(x, y)
        (R,) = self.output.backward(R, [_joined(self._contexts(heads, masks))], output, settings)
        R = R.reshape(len(x), len(q), -1).swapaxes(0, 1)
        received = [np.zeros_like(part) for part in heads]
        for h, weighting in enumerate(self._weightings(heads, masks)):
            own = h // self.served
            R_scores, R_values = weighting.relevance(R[h], settings)
            R_query, R_key = product_relevance(q[h], k[own].T, R_scores, gate=False)
            for total, part, at in zip(received, (R_query, R_key.T, R_values), (h, own, own), strict=True):
                total[at] += part
        to_x, *to_y = (
            heads.backward(R, z, settings) for heads, R, z in zip(self.projections, received, (x, y, y), strict=True)
        )
        return [to_x, sum(to_y), *(np.zeros(mask.shape) for mask in masks)]

    def _projected(self, x, y):
        return [heads.forward(z) for heads, z in zip(self.projections, (x, y, y), strict=True)]

    def _weightings(self, heads, masks):
        q, k, v = heads
        positions = allowed(q.shape[1], k.shape[1], causal=self.causal)
        for mask in masks:  # neither a query nor a key may be padding
            positions = positions & (mask > 0) & (mask > 0)[:, None]
        for h in range(len(q)):
            yield Weighting(self.scale * q[h] @ k[h // self.served].T, v[h // self.served], positions)

    def _contexts(self, heads, masks):
        return np.stack([weighting.context() for weighting in self._weightings(heads, masks)])


class _Heads:
    """A projection into heads, `(time, width)` to `(heads, time, size)`."""

    def __init__(self, kernel, bias):
        self.heads, bias = kernel.shape[1], None if bias is None else bias.ravel()
        self.dense = Dense(kernel.reshape(len(kernel), -1), bias)

    def forward(self, x):
        return self.dense.forward(x).reshape(len(x), self.heads, -1).swapaxes(0, 1)

    def backward(self, R, x, settings):
        return self.dense.backward(_joined(R), [x], self.dense.forward(x), settings)[0]


def _joined(heads):
    """`(heads, time, size)` to `(time, heads * size)`."""
    return heads.swapaxes(0, 1).reshape(heads.shape[1], -1)


@dataclass
class Dot:
    """Dot-product attention without projections (Luong et al. 2015).

    Args:
        scale: Of the scores, a constant.
        causal: No position sees a later one.
    """

    scale: float = 1.0
    causal: bool = False

    def forward(self, query, value):
        return self._weighting(query, value).context()

    def backward(self, R, inputs, output, settings):
        query, value = inputs
        R_scores, R_value = self._weighting(query, value).relevance(R, settings)
        R_query, R_key = product_relevance(query, value.T, R_scores, gate=False)
        return [R_query, R_key.T + R_value]

    def _weighting(self, query, value):
        return Weighting(self.scale * query @ value.T, value, allowed(len(query), len(value), causal=self.causal))


@dataclass
class Additive:
    """Additive attention (Bahdanau et al. 2015): scores sum_d v_d tanh(q_d + k_d).

    The sum and the sum below tanh share in proportion, tanh passes whole (eq. 9), v is constant.

    Args:
        scale: v, `(width,)`, or 1.
        causal: No position sees a later one.
    """

    scale: np.ndarray | float = 1.0
    causal: bool = False

    def forward(self, query, value):
        return self._weighting(query, value).context()

    def backward(self, R, inputs, output, settings):
        query, value = inputs
        weighting = self._weighting(query, value)
        R_scores, R_value = weighting.relevance(R, settings)
        terms = self._terms(query, value)
        (R_sums,) = rules.norm([terms], weighting.scores[..., None], R_scores[..., None])
        sums = query[:, None] + value[None]
        R_query, R_key = rules.norm([np.broadcast_to(query[:, None], sums.shape), value[None]], sums, R_sums)
        return [R_query.sum(axis=1), R_key.sum(axis=0) + R_value]

    def _terms(self, query, value):
        return self.scale * np.tanh(query[:, None] + value[None])  # (queries, keys, width)

    def _weighting(self, query, value):
        positions = allowed(len(query), len(value), causal=self.causal)
        return Weighting(self._terms(query, value).sum(axis=-1), value, positions)
