"""Layers of one example in NumPy float64: what each computes, and how each passes relevance down.

`forward(*inputs)` gives the output; `backward(R, inputs, output, settings)` the relevance of each input.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache

import numpy as np

from tests.oracles import geometry, matrices, rules

erf = np.vectorize(math.erf)


@dataclass
class Settings:
    """What a composite says: rule for each kind of layer, stabiliser, treatment of the bias; rules of first layers.

    `attention`: weights of attention are a `gate`, or share each product with what they weight (`uniform`).
    """

    rules: dict[str, str]
    stabilizer: float = 1e-6
    bias: str = "absorb"
    first: dict[str, str] = field(default_factory=dict)
    attention: str = "gate"


class Linear:
    """A layer with weights; `is_first`: no other lies below, and `bounds` are those of what it reads."""

    is_first = False
    bounds = None

    def __init__(self):
        self.affine = cache(self._affine)

    def forward(self, x):
        affine = self.affine(x.shape)
        y = x.ravel() @ affine.matrix
        return (y if affine.bias is None else y + affine.bias).reshape(affine.output_shape)

    def backward(self, R, inputs, output, settings):
        (x,) = inputs
        name = settings.first.get(self.kind, settings.rules[self.kind]) if self.is_first else settings.rules[self.kind]
        options = {"stabilizer": settings.stabilizer, "bias": settings.bias}
        if name == "z_box":
            options |= dict(zip(("low", "high"), (bound.ravel() for bound in self.bounds), strict=True))
        r = rules.RULES[name](x.ravel(), self.affine(x.shape), R.ravel(), **options)
        return [r.reshape(x.shape)]

    def scaled(self, scale, shift):
        """Followed by y * scale + shift for each output channel: one affine layer."""
        self.kernel = self.kernel * scale
        self.bias = shift if self.bias is None else self.bias * scale + shift


class Dense(Linear):
    kind = "dense"

    def __init__(self, kernel, bias=None):
        super().__init__()
        self.kernel, self.bias = kernel, bias

    def _affine(self, shape):
        return matrices.dense(shape, self.kernel, self.bias)


class Convolution(Linear):
    kind = "convolution"

    def __init__(self, kernel, bias=None, *, strides, padding, dilations, groups=1):
        super().__init__()
        self.kernel, self.bias = kernel, bias
        self.geometry = (strides, padding, dilations, groups)

    def _affine(self, shape):
        return matrices.convolution(shape, self.kernel, self.bias, *self.geometry)


class AveragePooling:
    def __init__(self, windows=None, strides=None, padding="valid"):
        self.geometry = (windows, strides, padding)

    def _affine(self, shape):
        windows, strides, padding = self.geometry
        everything = shape[:-1]
        return matrices.average_pooling(shape, windows or everything, strides or everything, padding)

    def forward(self, x):
        affine = self._affine(x.shape)
        return (x.ravel() @ affine.matrix).reshape(affine.output_shape)

    def backward(self, R, inputs, output, settings):
        (x,) = inputs
        return [rules.average(x.ravel(), self._affine(x.shape), R.ravel()).reshape(x.shape)]


class MaxPooling:
    def __init__(self, windows=None, strides=None, padding="valid"):
        self.geometry = (windows, strides, padding)

    def _windows(self, shape):
        windows, strides, padding = self.geometry
        sizes = shape[:-1]
        arguments = sizes, windows or sizes, strides or sizes, (1,) * len(sizes), padding
        yield from geometry.positions(*arguments)

    def forward(self, x):
        every = list(self._windows(x.shape))
        y = np.zeros((*(n + 1 for n in every[-1][0]), x.shape[-1]))
        for q, taps in every:
            y[q] = np.max([x[p] for _, p in taps], axis=0)
        return y

    def backward(self, R, inputs, output, settings):
        (x,) = inputs
        result = np.zeros_like(x)
        for q, taps in self._windows(x.shape):
            for channel in range(x.shape[-1]):
                shares = rules.winners(np.array([x[(*p, channel)] for _, p in taps]), R[(*q, channel)])
                for (_, p), share in zip(taps, shares, strict=True):
                    result[(*p, channel)] += share
        return [result]


@dataclass
class Activation:
    """An element-wise function: relevance passes whole."""

    function: Callable

    def forward(self, x):
        return self.function(x)

    def backward(self, R, inputs, output, settings):
        return [R]


FUNCTIONS = {
    "linear": lambda x: x,
    "relu": lambda x: np.maximum(x, 0),
    "relu6": lambda x: np.clip(x, 0, 6),
    "leaky_relu": lambda x: np.where(x > 0, x, 0.2 * x),
    "elu": lambda x: np.where(x > 0, x, np.expm1(np.minimum(x, 0))),
    "tanh": np.tanh,
    "sigmoid": lambda x: 1 / (1 + np.exp(-x)),
    "softplus": lambda x: np.log1p(np.exp(x)),
    "silu": lambda x: x / (1 + np.exp(-x)),
    "mish": lambda x: x * np.tanh(np.log1p(np.exp(x))),
    "hard_sigmoid": lambda x: np.clip(x / 6 + 0.5, 0, 1),
    "hard_silu": lambda x: x * np.clip(x / 6 + 0.5, 0, 1),
    "gelu": lambda x: x * 0.5 * (1 + erf(x / np.sqrt(2))),
    "softmax": lambda x: (
        np.exp(x - x.max(-1, keepdims=True)) / np.exp(x - x.max(-1, keepdims=True)).sum(-1, keepdims=True)
    ),
}


@dataclass
class Scale:
    """y = scale x + shift with constants. The factor takes nothing; the shift is a bias unless no weights lie below."""

    scale: np.ndarray | float
    shift: np.ndarray | float = 0.0
    preprocessing: bool = False

    def forward(self, x):
        return x * self.scale + self.shift

    def backward(self, R, inputs, output, settings):
        if self.preprocessing or settings.bias != "absorb":
            return [R]
        return rules.norm([inputs[0] * self.scale], output, R)


@dataclass
class Sum:
    """sum_k factor_k x_k, added one after the other, each addition with its own stabiliser.

    What the sum is divided by afterwards is a constant factor and takes nothing.
    """

    factors: tuple[float, ...]
    divisor: float = 1.0

    def _partial(self, inputs):
        terms = [factor * x for factor, x in zip(self.factors, inputs, strict=True)]
        return terms, [np.sum(terms[: count + 1], axis=0) for count in range(len(terms))]

    def forward(self, *inputs):
        return self._partial(inputs)[1][-1] / self.divisor

    def backward(self, R, inputs, output, settings):
        terms, sums = self._partial(inputs)
        shares = []
        for k in range(len(terms) - 1, 0, -1):
            R, last = rules.norm([sums[k - 1], terms[k]], sums[k], R)
            shares.append(last)
        return [R, *reversed(shares)]


class Product:
    """The product of two signals: half of its relevance to each (Achtibat et al. 2024, Prop. 3.2)."""

    def forward(self, a, b):
        return a * b

    def backward(self, R, inputs, output, settings):
        return [R / 2, R / 2]


@dataclass
class Extremum:
    """The largest or smallest of two: the winner takes all, equals share equally. `sign` is 1 or -1."""

    sign: int

    def forward(self, *inputs):
        return self.sign * np.max([self.sign * x for x in inputs], axis=0)

    def backward(self, R, inputs, output, settings):
        best = np.array([x == output for x in inputs])
        return list(np.where(best, R / best.sum(axis=0), 0.0))


class Dot:
    """y = sum_i a_i b_i of two vectors: each summand its share, half to either factor."""

    def forward(self, a, b):
        return np.array([a @ b])

    def backward(self, R, inputs, output, settings):
        a, b = inputs
        (shares,) = rules.norm([a * b], output, R)
        return [shares / 2, shares / 2]


@dataclass
class Concatenate:
    axis: int

    def forward(self, *inputs):
        return np.concatenate(inputs, axis=self.axis)

    def backward(self, R, inputs, output, settings):
        places = np.cumsum([x.shape[self.axis] for x in inputs])[:-1]
        return np.split(R, places, axis=self.axis)


@dataclass
class Move:
    """Moves, drops, repeats elements or pads with zeros; `function` works on any array in the shape of an example."""

    function: Callable

    def forward(self, x):
        return self.function(x)

    def backward(self, R, inputs, output, settings):
        (x,) = inputs
        sources = self.function(np.arange(1, x.size + 1).reshape(x.shape)).ravel()  # 0 is padding
        collected = np.zeros(x.size + 1)
        np.add.at(collected, sources, R.ravel())
        return [collected[1:].reshape(x.shape)]
