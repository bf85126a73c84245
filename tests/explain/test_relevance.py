import numpy as np
import pytest
import tensorflow as tf

from explain.relevance import Relevance, in_full, quotient, scaled

EPSILON = 1e-6
Z = np.array([-2.0, -1e-6, -1e-9, 0.0, 1e-9, 1e-6, 3.0])
G = np.array([0.5, -3.0, 2.0, 7.0, -1.0, 4.0, -0.25])


def expected(z, r, count=1.0):
    """R / (z + epsilon s(z)) / count with s(0) = 1."""
    return r / (z + EPSILON * np.where(z >= 0, 1.0, -1.0)) / count


def traced(function):
    """What `function(z, g)` computes in a graph."""
    graph = tf.function(function, autograph=False).get_concrete_function(tf.constant(Z), tf.constant(G))
    return [np.asarray(value) for value in tf.nest.flatten(graph(tf.constant(Z), tf.constant(G)))]


@pytest.mark.parametrize("count", [1.0, 2.0])
def test_both_forms_have_the_same_quotient(count):
    def look(z, g):
        forms = Relevance(z, relevance=z * g), Relevance(z, gradient=g)
        return [quotient(relevance, z, EPSILON, count=count) for relevance in forms]

    for found in traced(look):
        np.testing.assert_allclose(found, expected(Z, Z * G, count), rtol=1e-12)


def test_another_denominator_is_not_taken_for_the_tensor():
    (found,) = traced(lambda z, g: quotient(Relevance(z, gradient=g), z - 0.5, EPSILON))
    np.testing.assert_allclose(found, expected(Z - 0.5, Z * G), rtol=1e-12)


def test_half_precision_is_widened_before_the_quotient():
    def look(z, g):
        half = tf.cast(z, tf.float16)
        return quotient(Relevance(half, gradient=tf.cast(g, tf.float32)), tf.cast(half, tf.float32), EPSILON)

    half = Z.astype(np.float16).astype(np.float64)
    np.testing.assert_allclose(traced(look)[0], expected(half, half * G), rtol=1e-6)


def test_a_blocked_score_has_a_finite_quotient():
    def look(z, g):
        blocked = z / tf.zeros_like(z)
        return quotient(Relevance(blocked, gradient=g), blocked, EPSILON, count=2.0)

    np.testing.assert_array_equal(traced(look)[0][Z != 0], G[Z != 0] / 2)


@pytest.mark.parametrize("factor", [0.125, -3.0])
def test_below_a_constant_factor_the_quotient_is_that_of_what_was_multiplied(factor):
    def look(z, g):
        relevance = scaled(factor * z, g, z, factor)
        return relevance.value(), quotient(relevance, z, EPSILON, count=2.0)

    value, found = traced(look)
    np.testing.assert_allclose(value, factor * Z * G, rtol=1e-12)
    np.testing.assert_allclose(found, expected(Z, factor * Z * G, 2.0), rtol=1e-12)


def test_a_gradient_that_broadcasts_is_filled_up():
    tensor = tf.ones((2, 3))
    full = in_full(Relevance(tensor, gradient=tf.constant([[1.0], [2.0]])))
    np.testing.assert_array_equal(full.gradient, [[1, 1, 1], [2, 2, 2]])
    same = Relevance(tensor, gradient=tensor)
    assert in_full(same) is same


def test_without_a_stabilizer_nothing_by_nothing_is_nothing():
    def look(z, g):
        forms = Relevance(z, relevance=z * g), Relevance(z, gradient=g)
        return [quotient(relevance, z, 0.0) for relevance in forms]

    for found in traced(look):
        np.testing.assert_allclose(found, np.where(Z == 0, 0.0, G), rtol=1e-12)
