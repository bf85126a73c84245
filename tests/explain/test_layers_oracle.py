# ruff: noqa: PLW0108 - layers are made inside the lambda, while the policy is float64
"""Layers without a test file of their own against their NumPy oracles, each between two layers with weights."""

import sys

import pytest
from keras import layers

from tests.explain.running import assert_equals_oracle, functional, signal

IMAGE = (5, 6, 4)


def between(make):
    """Below a dense layer and above a convolution."""
    return lambda x: layers.Dense(3)(layers.Flatten()(make()(layers.Conv2D(4, 1)(x))))


# How each stands in a model, the shapes of its inputs, and how far it may be off: TensorFlow resizes in float32.
LAYERS = {
    "minimum": (lambda x, y: layers.Dense(3)(layers.Minimum()([layers.Dense(4)(x), y])), [(4,), (4,)], 1e-9),
    "maximum": (lambda x, y: layers.Dense(3)(layers.Maximum()([layers.Dense(4)(x), y])), [(4,), (4,)], 1e-9),
    "dot": (lambda x, y: layers.Dense(3)(layers.Dot(1)([layers.Dense(4)(x), y])), [(4,), (4,)], 1e-9),
    "upsampling 1d": (
        lambda x: layers.Dense(3)(layers.Flatten()(layers.UpSampling1D(3)(layers.Conv1D(4, 2)(x)))),
        [(5, 3)],
        1e-9,
    ),
    "upsampling": (between(lambda: layers.UpSampling2D((2, 3))), [IMAGE], 1e-9),
    "upsampling, bilinear": (between(lambda: layers.UpSampling2D(2, interpolation="bilinear")), [IMAGE], 1e-5),
    "upsampling 3d": (
        lambda x: layers.Dense(3)(layers.Flatten()(layers.UpSampling3D(2)(layers.Conv3D(2, 2)(x)))),
        [(3, 3, 3, 2)],
        1e-9,
    ),
    "resizing": (between(lambda: layers.Resizing(7, 4)), [IMAGE], 1e-5),
    "resizing, nearest": (between(lambda: layers.Resizing(3, 8, interpolation="nearest")), [IMAGE], 1e-5),
    "resizing of raw input": (
        lambda x: layers.Dense(3)(layers.Flatten()(layers.Conv2D(4, 2)(layers.Resizing(7, 4)(x)))),
        [IMAGE],
        1e-5,
    ),
    "unit normalization": (between(lambda: layers.UnitNormalization()), [IMAGE], 1e-9),
    "spectral normalization": (
        between(lambda: layers.SpectralNormalization(layers.Conv2D(3, 2))),
        [IMAGE],
        1e-9,
    ),
}


@pytest.fixture
def hardly_stabilized(monkeypatch):
    """Keras computes (x - m) s + b as x s + (b - m s): the same shares, but for the stabilizers of the sums."""
    for name, module in list(sys.modules.items()):
        if name.startswith(("explain.", "tests.oracles.")) and hasattr(module, "NORM_EPSILON"):
            monkeypatch.setattr(module, "NORM_EPSILON", 1e-12)


@pytest.mark.slow
@pytest.mark.usefixtures("hardly_stabilized")
@pytest.mark.parametrize("groups", [1, 2, 4])
def test_relevance_of_a_group_normalization_equals_the_oracle(groups):
    model = functional(between(lambda: layers.GroupNormalization(groups)), IMAGE)
    assert_equals_oracle(model, signal(2, *IMAGE), target=1, composite="epsilon", tolerance=1e-7)


@pytest.mark.slow
@pytest.mark.parametrize("name", LAYERS)
def test_relevance_equals_the_oracle(name):
    build, shapes, tolerance = LAYERS[name]
    arrays = [signal(2, *shape, seed=seed) for seed, shape in enumerate(shapes, start=1)]
    assert_equals_oracle(functional(build, *shapes), *arrays, target=1, composite="epsilon", tolerance=tolerance)
