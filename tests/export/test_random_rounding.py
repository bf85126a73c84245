"""Operations that round at random, in TensorFlow, against what rounding to nearest allows."""

import math
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from export.runners import SessionRunner

EPS = np.finfo(np.float32).eps


def saved(folder: Path, function) -> Path:
    """A SavedModel of a function of one float32 vector, and of the weights that it may read."""
    root = tf.Module()
    root.weight = tf.Variable(tf.fill([10000], 1.5))
    spec = tf.TensorSpec((None,), tf.float32, name="x")
    call = tf.function(lambda x: {"y": function(x, root.weight)}, input_signature=[spec], autograph=False)
    tf.saved_model.save(root, str(folder), signatures={"serving_default": call.get_concrete_function()})
    return folder


def run(runner, x) -> np.ndarray:
    return runner.run("serving_default", {"x": x})["y"]


@pytest.fixture
def x() -> np.ndarray:
    return np.random.default_rng(0).uniform(1, 2, 10000).astype(np.float32)


def test_a_result_is_rounded_to_it_or_to_its_neighbours(tmp_path, x) -> None:
    with SessionRunner(saved(tmp_path, lambda x, _: x + x)) as session:
        exact, rounded = run(session, x), run(session.rounded_at_random, x)
    np.testing.assert_array_equal(exact, 2 * x)
    units = (rounded - exact) / (2 * EPS)  # of y = 2 x in [2, 4)
    assert set(units.tolist()) == {-1.0, 0.0, 1.0}
    # y u, |u| < eps / 2, is more than half a unit, eps, where |u| > eps / y: in 1 - 1/x of all cases; x is uniform in
    # [1, 2), so in 1 - ln 2 = 0.307 of them. The deviation of that share of 10,000 is 0.005.
    assert np.mean(units != 0) == pytest.approx(1 - math.log(2), abs=0.02)
    assert abs(units.mean()) < 0.02


def test_each_run_rounds_otherwise_and_each_program_begins_anew(tmp_path, x) -> None:
    saved(tmp_path, lambda x, _: x + x)
    runs = []
    for _ in range(2):
        with SessionRunner(tmp_path) as session:
            runs.append([run(session.rounded_at_random, x) for _ in range(2)])
    assert (runs[0][0] != runs[0][1]).any()
    np.testing.assert_array_equal(runs[0], runs[1])


def test_operations_round_independently_of_one_another(tmp_path, x) -> None:
    # Were both sums rounded alike, their difference would be exactly zero.
    with SessionRunner(saved(tmp_path, lambda x, w: (x + w) - (w + x))) as session:
        assert (run(session, x) == 0).all()
        assert (run(session.rounded_at_random, x) != 0).mean() > 0.3


def test_operations_within_loops_round_too(tmp_path, x) -> None:
    def grown(x, _):
        return tf.while_loop(lambda step, _: step < 30, lambda step, y: (step + 1, tf.tanh(y + y)), (0, x))[1]

    with SessionRunner(saved(tmp_path, grown)) as session:
        exact, rounded = run(session, x), run(session.rounded_at_random, x)
    np.testing.assert_allclose(rounded, exact, rtol=4 * EPS)
    assert (rounded != exact).any()


def test_variables_and_integers_are_left_as_they_are(tmp_path, x) -> None:
    with SessionRunner(
        saved(tmp_path, lambda x, w: tf.where(x > 0, w, tf.cast(tf.shape(x)[0] * 2, tf.float32)))
    ) as session:
        np.testing.assert_array_equal(run(session.rounded_at_random, x), np.float32(1.5))
        np.testing.assert_array_equal(run(session.rounded_at_random, -x), np.float32(20000))
