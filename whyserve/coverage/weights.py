"""Weights that are as good as trained ones for checking numbers: nothing is zero, one, or equal, and nothing explodes.

Keras leaves biases at 0, scales at 1 (ConvNeXt's at 1e-6, which hides its blocks) and the statistics of batch
normalisation at 0 and 1, so that a wrong bias, a wrong scale or a wrong folding would not be seen.
"""

import math
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import keras
import numpy as np

_BIAS_DEVIATION = 0.1
_SCALES = (0.5, 1.5)
# Offsets of batch normalisation. Around zero, a deep network of random weights is chaotic: each ReLU on centred values
# makes a difference of its inputs about 1.2 times as large (Yang et al. 2019, "A mean field theory of batch
# normalization"), and rounding grows beyond any tolerance. With most units on, it doesn't, as in trained networks.
_OFFSET_MEAN, _OFFSET_DEVIATION = 1.0, 0.3
# Of layers that drop at random in training; left out while statistics are taken.
_DROPS = ("rate", "drop_path_rate")


def make_generic(model: keras.Model, images: np.ndarray, *, seed: int) -> None:
    """Draws what an initialiser left constant, and fits batch normalisation and the scale of the scores to images.

    Args:
        model: A built model; its weights are changed.
        images: What it takes, some dozens.
        seed: Of the draws.
    """
    generator = np.random.default_rng(seed)
    normalizations = [layer for layer in _layers(model) if isinstance(layer, keras.layers.BatchNormalization)]
    offsets = {id(layer.beta) for layer in normalizations if layer.center}
    for weight in model.weights:
        value = _drawn(weight, generator, shift=_OFFSET_MEAN if id(weight) in offsets else 0.0)
        if value is not None:
            weight.assign(value)
    for layer in _layers(model):
        if isinstance(layer, keras.layers.Normalization):
            layer.finalize_state()  # computes from tensors of its own, not from its weights
    _calibrate(model, images)
    _temper(model, images)


def _temper(model: keras.Model, images: np.ndarray) -> None:
    """Scales the last kernel so that the scores' deviation is 1: of a saturated softmax nothing would be compared."""
    last = [layer for layer in _layers(model) if hasattr(layer, "kernel")][-1]
    with _set(last, "activation", keras.activations.linear):
        scores = np.asarray(keras.Model(model.inputs[0], last.output)(images, training=False))
    last.kernel.assign(last.kernel / scores.std())


def _layers(model: keras.Model) -> Iterator[keras.layers.Layer]:
    yield from model._flatten_layers()  # noqa: SLF001 - Keras has no public walk through nested layers


def _drawn(weight: Any, generator: np.random.Generator, *, shift: float) -> np.ndarray | None:
    """The weight's new value, None to keep it; `shift` is not zero for offsets of batch normalisation."""
    value = np.asarray(weight.numpy())
    if not np.issubdtype(value.dtype, np.floating):
        return None
    if value.ndim == 4:
        return value * np.asarray(math.sqrt(2), value.dtype)  # He et al. 2015: a ReLU halves the variance
    if not value.size or (value != value.flat[0]).any():
        return None
    if value.flat[0] > 0:
        return generator.uniform(*_SCALES, value.shape).astype(value.dtype)
    deviation = _OFFSET_DEVIATION if shift else _BIAS_DEVIATION
    return generator.normal(shift, deviation, value.shape).astype(value.dtype)


def _calibrate(model: keras.Model, images: np.ndarray) -> None:
    """One pass in training mode with momentum 0: the moving statistics become those of this batch, layer by layer."""
    with ExitStack() as stack:
        for layer in _layers(model):
            if isinstance(layer, keras.layers.BatchNormalization):
                stack.enter_context(_set(layer, "momentum", 0.0))
            for name in _DROPS:
                if isinstance(getattr(layer, name, None), float):
                    stack.enter_context(_set(layer, name, 0.0))
        model(images, training=True)


@contextmanager
def _set(layer: keras.layers.Layer, name: str, value: Any) -> Iterator[None]:
    before = getattr(layer, name)
    setattr(layer, name, value)
    try:
        yield
    finally:
        setattr(layer, name, before)
