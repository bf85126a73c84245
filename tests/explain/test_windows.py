# ruff: noqa: PLW0108 - layers are made inside the lambda, while the policy is float64
import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from keras import layers

from explain.windows import Windows, interleave, read_offset, scatter_windows
from tests.explain.running import double, explain, functional, signal, with_map
from tests.oracles import geometry, matrices
from tests.oracles.from_keras import network_of


@st.composite
def geometries(draw):
    """Sizes, windows, strides, dilations and padding in one to three dimensions; sizes that don't divide too."""
    dims = draw(st.integers(1, 3))
    draws = [draw(st.lists(st.integers(1, top), min_size=dims, max_size=dims)) for top in (7, 4, 3, 2)]
    sizes, windows, strides, dilations = (tuple(values) for values in draws)
    padding = draw(st.sampled_from(["same", "valid"]))
    extents = [d * (k - 1) + 1 for k, d in zip(windows, dilations, strict=True)]
    assume(padding == "same" or all(size >= extent for size, extent in zip(sizes, extents, strict=True)))
    return sizes, windows, strides, dilations, padding


@given(geometries())
@settings(max_examples=60, deadline=None, derandomize=True)
def test_scatter_puts_each_element_of_each_window_where_it_was_read(case):
    sizes, windows, strides, dilations, padding = case
    outputs = geometry.output_sizes(*case)
    parts = signal(*windows, 2, *outputs, 3)
    expected = np.zeros((2, *sizes, 3))
    for q, taps in geometry.positions(*case):
        for m, p in taps:
            expected[(slice(None), *p)] += parts[m][(slice(None), *q)]
    actual = scatter_windows(
        lambda offset: tf.constant(parts[offset]),
        Windows(windows, strides, dilations, padding.upper()),
        sizes,
        fill=tf.constant(parts[(0,) * len(windows)]),
    )
    np.testing.assert_allclose(actual, expected, atol=1e-13)


@given(geometries())
@settings(max_examples=40, deadline=None, derandomize=True)
def test_offsets_are_read_where_the_windows_lie(case):
    sizes, windows, strides, dilations, padding = case
    pads = geometry.paddings(*case)
    x = signal(1, *sizes, 2)
    padded = tf.constant(np.pad(x, [(0, 0), *pads, (0, 0)]))
    view = Windows(windows, strides, dilations, padding.upper())
    assert view.pad_before(sizes) == [before for before, _ in pads]
    outputs = geometry.output_sizes(*case)
    read = {m: read_offset(padded, view, m, outputs).numpy() for m in np.ndindex(*windows)}
    for q, taps in geometry.positions(*case):
        inside = dict(taps)
        for m in np.ndindex(*windows):
            expected = x[(0, *inside[m])] if m in inside else 0.0
            np.testing.assert_array_equal(read[m][(0, *q)], np.broadcast_to(expected, 2))


def test_interleave_puts_phase_r_at_every_sth_position():
    # strides 2 and 3: position (2 u + r, 3 v + t) holds phase (r, t) at (u, v).
    phases = [np.full((1, 2, 1, 1), 10.0 * r + t) for r in range(2) for t in range(3)]
    expected = [[0, 1, 2], [10, 11, 12], [0, 1, 2], [10, 11, 12]]
    np.testing.assert_array_equal(interleave([tf.constant(p) for p in phases], (2, 3))[0, :, :, 0], expected)


# Layer, shape of an example.
CONVOLUTIONS = {
    "1d": (lambda: layers.Conv1D(3, 4, padding="same"), (7, 2)),
    "1d strided": (lambda: layers.Conv1D(3, 3, strides=2, padding="same"), (8, 2)),
    "same": (lambda: layers.Conv2D(4, 3, padding="same"), (5, 7, 5)),
    "same of an image": (lambda: layers.Conv2D(4, 3, padding="same"), (8, 8, 3)),
    "same of a grey image": (lambda: layers.Conv2D(2, 3, padding="same"), (4, 8, 1)),
    "valid of an image": (lambda: layers.Conv2D(2, (2, 3)), (8, 4, 1)),
    "valid": (lambda: layers.Conv2D(4, (2, 3)), (5, 6, 17)),
    "even kernel": (lambda: layers.Conv2D(2, (4, 2), padding="same"), (5, 7, 2)),
    "kernel larger than the image": (lambda: layers.Conv2D(2, 5, padding="same"), (2, 3, 2)),
    "stride 2": (lambda: layers.Conv2D(3, 3, strides=2, padding="same"), (7, 8, 2)),
    "stride 3, rest": (lambda: layers.Conv2D(3, 2, strides=3), (7, 8, 2)),
    "strides (2, 3)": (lambda: layers.Conv2D(3, (3, 5), strides=(2, 3), padding="same"), (9, 8, 2)),
    "stride beyond the kernel": (lambda: layers.Conv2D(3, 1, strides=2, padding="same"), (6, 5, 2)),
    "dilated": (lambda: layers.Conv2D(3, 3, dilation_rate=(2, 3), padding="same"), (7, 8, 2)),
    "dilated, valid": (lambda: layers.Conv2D(3, 2, dilation_rate=2), (6, 5, 2)),
    "groups": (lambda: layers.Conv2D(6, 3, groups=3, padding="same"), (5, 4, 6)),
    "groups, stride 2": (lambda: layers.Conv2D(6, 3, groups=3, strides=2, padding="same"), (5, 4, 6)),
    "3d": (lambda: layers.Conv3D(2, (2, 3, 1), padding="same"), (3, 4, 2, 2)),
    "3d strided": (lambda: layers.Conv3D(2, 3, strides=(1, 2, 2)), (3, 5, 6, 2)),
}


@pytest.mark.parametrize("case", CONVOLUTIONS)
def test_a_convolution_and_its_adjoint_are_one_matrix_and_its_transpose(case):
    make, shape = CONVOLUTIONS[case]
    model = functional(lambda x: make()(x), shape)
    x, c = signal(2, *shape), signal(2, *model.output_shape[1:], seed=2)

    def both(node, c):
        return node.forward(node.input, node.kernel), node.adjoint(c, node.kernel)

    forward, adjoint = with_map(model, both, x, c)
    adjoint = adjoint.reshape(x.shape)  # one dimension is traced as two
    np.testing.assert_allclose((forward * c).sum(), (x * adjoint).sum(), rtol=1e-12)
    matrix = network_of(model).nodes[0].layer.affine(shape).matrix
    np.testing.assert_allclose(forward.reshape(2, -1), x.reshape(2, -1) @ matrix, atol=1e-12)
    np.testing.assert_allclose(adjoint.reshape(2, -1), c.reshape(2, -1) @ matrix.T, atol=1e-12)


class Padded(keras.layers.Layer):
    """A convolution with padding of its own on each side, as a stranger may write it."""

    def build(self, shape):
        self.kernel = self.add_weight(shape=(3, 2, shape[-1], 3), name="kernel")

    def call(self, x):
        return tf.nn.conv2d(x, self.kernel, (1, 2), [[0, 0], [1, 0], [0, 2], [0, 0]])


def test_explicit_padding_is_a_matrix_and_its_transpose_too():
    model = functional(lambda x: Padded()(x), (5, 6, 2))
    x, c = signal(2, 5, 6, 2), signal(2, 4, 4, 3, seed=2)
    (adjoint,) = with_map(model, lambda node, c: node.adjoint(c, node.kernel), x, c)
    kernel = model.get_weights()[0]
    affine = matrices.convolution((5, 6, 2), kernel, None, (1, 2), [(1, 0), (0, 2)], (1, 1), 1)
    assert affine.output_shape == model.output_shape[1:] == (4, 4, 3)
    np.testing.assert_allclose(adjoint.reshape(2, -1), c.reshape(2, -1) @ affine.matrix.T, atol=1e-12)


# On the right what makes the two paths differ: padding of unknown sizes, interleaving, windows that overlap.
DYNAMIC = {
    "stride 2": lambda: [layers.Conv2D(3, 3, strides=2, padding="same")],
    "dilated": lambda: [layers.Conv2D(3, 3, dilation_rate=2, padding="same")],
    "pooling": lambda: [layers.MaxPooling2D(2, padding="same"), layers.Conv2D(3, 2, padding="same")],
    "overlapping pooling": lambda: [layers.MaxPooling2D(3, 2, padding="same"), layers.Conv2D(3, 3)],
    "average pooling": lambda: [layers.AveragePooling2D(3, 2, padding="same"), layers.Conv2D(3, 1)],
}


@pytest.mark.slow
@pytest.mark.parametrize("case", DYNAMIC)
def test_an_unknown_image_size_changes_nothing(case):
    results = []
    for shape in ((7, 6, 2), (None, None, 2)):
        with double():
            model = keras.Sequential(
                [keras.Input(shape, dtype="float64"), *DYNAMIC[case](), layers.GlobalAveragePooling2D()]
            )
        generator = np.random.default_rng(0)
        model.set_weights([generator.normal(size=value.shape) for value in model.get_weights()])
        results.append(explain(model, signal(2, 7, 6, 2), composite="epsilon_plus")["relevance"])
    assert np.abs(results[0]).max() > 0
    np.testing.assert_allclose(results[1], results[0], atol=1e-10 * np.abs(results[0]).max())
