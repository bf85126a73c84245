import numpy as np
import tensorflow as tf

from explain.equivalents import MARK, marked


def test_a_mark_changes_neither_values_nor_shapes():
    @tf.function(autograph=False, input_signature=[tf.TensorSpec((None, 2), tf.float32)])
    def function(x):
        doubled, squared = marked([2 * x, x * x], "kind", {"x": x}, option=1)
        assert doubled.shape.as_list() == squared.shape.as_list() == [None, 2]
        return doubled, squared

    values = np.array([[1.0, -3.0]], np.float32)
    doubled, squared = function(tf.constant(values))
    np.testing.assert_array_equal(doubled, [[2.0, -6.0]])
    np.testing.assert_array_equal(squared, [[1.0, 9.0]])
    marks = [node for node in function.get_concrete_function().graph.as_graph_def().node if MARK in node.attr]
    assert [node.op for node in marks] == ["IdentityN"]


def test_nothing_is_marked_eagerly():
    result = tf.constant(1.0)
    assert marked([result], "kind", {"x": tf.constant(2.0)})[0] is result
