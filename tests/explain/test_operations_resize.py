import numpy as np
import pytest
from keras import layers

from tests.explain.running import explain, functional, signal, worst


def test_a_mean_of_raw_pixels_shares_by_its_weights():
    """Of the pixels 3 and -1 the mean is 1, and the score 2 * 1: each pixel gets half of it, not 3 and -1."""
    model = functional(lambda x: layers.Dense(1, use_bias=False)(layers.Flatten()(layers.Resizing(1, 1)(x))), (2, 1, 1))
    model.set_weights([np.array([[2.0]])])
    result = explain(model, np.array([3.0, -1.0]).reshape(1, 2, 1, 1), composite="epsilon")
    np.testing.assert_allclose(result["relevance"].ravel(), [1.0, 1.0], rtol=1e-6)
    np.testing.assert_allclose(result["conservation_gap"], 0.0, atol=1e-5)  # the dense layer's stabilizer


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic", "nearest"])
def test_what_stands_for_zero_in_raw_pixels_changes_nothing(interpolation):
    """Scaling before resizing is scaling after it."""

    def build(before, after):
        resize = layers.Resizing(4, 3, interpolation=interpolation)
        return lambda x: layers.Dense(3)(layers.Flatten()(layers.Conv2D(4, 2)(after(resize(before(x))))))

    scale = layers.Rescaling(0.5, -1.0, dtype="float64")
    nothing = layers.Identity(dtype="float64")
    x = signal(2, 6, 7, 2)
    first, second = (
        explain(functional(build(*order), (6, 7, 2)), x, target=1, composite="epsilon_plus")["relevance"]
        for order in ((scale, nothing), (nothing, scale))
    )
    assert np.abs(first).max() > 1e-3
    assert worst(first, second) < 1e-5  # TensorFlow resizes in float32


def test_rounding_of_pixels_that_cancel_is_not_enlarged():
    """Four pixels whose mean is zero: the sign of that picks another kernel of z_plus."""
    model = functional(
        lambda x: layers.Dense(2)(layers.Flatten()(layers.Conv2D(4, 2, activation="relu")(layers.Resizing(4, 4)(x)))),
        (8, 8, 3),
    )
    x = signal(3, 8, 8, 3).astype(np.float32).astype(np.float64)
    x[:, 2:4, 4:6] = np.array([[0.75, -0.25], [-0.875, 0.375]])[..., None]
    results = []
    for rounding in (0.0, 6e-8, -6e-8):
        changed = x.copy()
        changed[:, 2, 4] += 4 * rounding
        results.append(explain(model, changed, target=0, composite="epsilon_plus")["relevance"])
    for result in results[1:]:
        assert worst(result, results[0]) < 1e-5
