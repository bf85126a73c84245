# ruff: noqa: PLW0108 - layers are made inside the lambda, while the policy is float64
import numpy as np
import pytest
from keras import layers, ops

from explain import UnsupportedOperationError, build_explainer
from tests.explain.running import explain, functional, relevance_of, signal, worst
from tests.oracles.layers import Concatenate, Move

# Name: what Keras computes, the same in NumPy without the batch, shape of an example.
MOVES = {
    "flatten": (lambda x: layers.Flatten()(x), np.ravel, (2, 3, 2)),
    "reshape": (lambda x: layers.Reshape((4, 3))(x), lambda x: x.reshape(4, 3), (2, 3, 2)),
    "permute": (lambda x: layers.Permute((3, 1, 2))(x), lambda x: x.transpose(2, 0, 1), (2, 3, 4)),
    "squeeze": (lambda x: ops.squeeze(x, 2), lambda x: x.squeeze(1), (3, 1, 2)),
    "expand": (lambda x: ops.expand_dims(x, 2), lambda x: x[:, None], (3, 2)),
    "zero padding": (
        lambda x: layers.ZeroPadding2D(((1, 0), (2, 3)))(x),
        lambda x: np.pad(x, ((1, 0), (2, 3), (0, 0))),
        (2, 3, 2),
    ),
    "padding of channels": (
        lambda x: ops.pad(x, ((0, 0), (0, 0), (1, 2))),
        lambda x: np.pad(x, ((0, 0), (1, 2))),
        (3, 2),
    ),
    "cropping": (lambda x: layers.Cropping2D(((1, 0), (0, 2)))(x), lambda x: x[1:, :-2], (3, 4, 2)),
    "slice": (lambda x: x[:, 1:3], lambda x: x[1:3], (4, 2)),
    "slice from the end": (lambda x: x[:, -3:-1], lambda x: x[-3:-1], (4, 2)),
    "slice beyond both ends": (lambda x: x[:, -9:9], lambda x: x[-9:9], (4, 2)),
    "strided slice": (lambda x: x[:, 1::2], lambda x: x[1::2], (6, 2)),
    "strided slice with a rest": (lambda x: x[:, ::3], lambda x: x[::3], (5, 2)),
    "strided slice of the last axis": (lambda x: x[..., 1::2], lambda x: x[..., 1::2], (2, 5)),
    "strided slice of two axes": (lambda x: x[:, ::2, 1::2], lambda x: x[::2, 1::2], (5, 4, 2)),
    "index": (lambda x: x[:, 1], lambda x: x[1], (3, 2)),
    "last index": (lambda x: x[:, -1], lambda x: x[-1], (3, 2)),
    "index of the last axis": (lambda x: x[..., 0], lambda x: x[..., 0], (3, 2)),
    "ellipsis": (lambda x: x[:, ..., 1:], lambda x: x[..., 1:], (2, 3, 2)),
    "one part of a split": (lambda x: ops.split(x, 3, axis=1)[1], lambda x: x[2:4], (6, 2)),
    "one part of an uneven split": (lambda x: ops.split(x, [1, 4], axis=1)[1], lambda x: x[1:4], (6, 2)),
    "split and swapped": (
        lambda x: ops.concatenate(ops.split(x, 2, axis=-1)[::-1], axis=-1),
        lambda x: np.roll(x, 2, axis=-1),
        (3, 4),
    ),
    "unstack and stack": (
        lambda x: ops.stack(ops.unstack(x, 3, axis=1), axis=-1),
        lambda x: np.stack(list(x), axis=-1),
        (3, 2),
    ),
    "one of an unstack": (lambda x: ops.unstack(x, 3, axis=1)[2], lambda x: x[2], (3, 2)),
    "concatenated with itself": (
        lambda x: ops.concatenate([x, x[:, :1]], axis=1),
        lambda x: np.concatenate([x, x[:1]]),
        (3, 2),
    ),
    "swapped axes": (lambda x: ops.swapaxes(x, 1, 2), lambda x: x.T, (3, 2)),
}


@pytest.mark.slow
@pytest.mark.parametrize("activation", ["linear", "tanh"])
@pytest.mark.parametrize("case", MOVES)
def test_relevance_moves_back_with_its_element(case, activation):
    """`tanh` above asks for R itself, a linear layer sends the gradient form down: both move."""
    move, moved, shape = MOVES[case]

    def head(x):
        return layers.Dense(2, name="head")(layers.Flatten()(layers.Activation(activation)(x)))

    x = signal(2, *shape)
    whole = functional(lambda x: head(move(x)), shape)
    above = functional(head, moved(x[0]).shape)
    above.set_weights(whole.get_weights())
    result = explain(whole, x, composite="epsilon")
    after = explain(above, np.stack([moved(example) for example in x]), composite="epsilon")
    expected = [Move(moved).backward(r, [a], None, None)[0] for r, a in zip(after["relevance"], x, strict=True)]
    assert worst(result["relevance"], np.stack(expected)) < 1e-12
    np.testing.assert_allclose(result["conservation_gap"], after["conservation_gap"], atol=1e-12)


@pytest.mark.parametrize("axis", [1, 2, -1])
@pytest.mark.parametrize("activation", ["linear", "tanh"])
def test_concatenated_signals_get_their_own_part(axis, activation):
    shapes = {1: [(2, 3), (1, 3), (4, 3)], 2: [(3, 2), (3, 1), (3, 4)], -1: [(3, 2), (3, 1), (3, 4)]}[axis]

    def head(x):
        return layers.Dense(2)(layers.Flatten()(layers.Activation(activation)(x)))

    parts = [signal(2, *shape, seed=seed) for seed, shape in enumerate(shapes)]
    whole = functional(lambda *x: head(layers.Concatenate(axis=axis)(list(x))), *shapes)
    joined = np.concatenate(parts, axis=axis)
    above = functional(head, joined.shape[1:])
    above.set_weights(whole.get_weights())
    r = explain(above, joined, composite="epsilon")["relevance"]
    oracle = Concatenate(axis - 1 if axis > 0 else axis)
    for index in range(2):
        expected = oracle.backward(r[index], [part[index] for part in parts], None, None)
        for actual, one in zip(relevance_of(explain(whole, *parts, composite="epsilon")), expected, strict=True):
            np.testing.assert_allclose(actual[index], one, atol=1e-12)


def test_relevance_of_a_padding_value_is_absorbed():
    """Padded with 2 and not with 0: what lands there is no input's, and the gap shows it."""
    model = functional(
        lambda x: ops.sum(ops.pad(x, ((0, 0), (1, 0)), constant_values=2.0), axis=1, keepdims=True), (2,)
    )
    result = explain(model, np.array([[3.0, 5.0]]))  # 2 + 3 + 5 = 10
    np.testing.assert_allclose(result["relevance"], [[3, 5]], rtol=1e-6)
    np.testing.assert_allclose(result["conservation_gap"], [2], rtol=1e-5)


def test_a_move_that_is_not_known_is_refused_by_name():
    """Never passed by a guess."""
    model = functional(lambda x: layers.Dense(1)(ops.slice_update(x, (0, 1), np.ones((1, 1)))), (3,))
    with pytest.raises(
        UnsupportedOperationError, match=r"operation 'XlaDynamicUpdateSlice' \(layer '.*slice_update.*'\)"
    ):
        build_explainer(model, composite="epsilon")
