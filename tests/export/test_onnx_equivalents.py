import tensorflow as tf

from explain.equivalents import marked
from export.onnx_equivalents import OPERATION, cut_off


def looped(x, turns):
    """x + turns, by a loop."""
    return tf.while_loop(lambda i, _: i < turns, lambda i, y: (i + 1, y + 1), (0, x))[1]


def graph_of(function):
    concrete = tf.function(function, autograph=False).get_concrete_function(tf.TensorSpec((None, 2), tf.float32))
    return concrete, concrete.graph.as_graph_def()


def names_of(messages):
    return {message.name for message in messages}


def test_what_a_marked_result_was_computed_by_is_cut_off_with_its_functions():
    def both(x):
        kept = looped(x, 2)
        return kept + marked([looped(kept, 3)], "kind", {"x": kept})[0]

    concrete, whole = graph_of(both)
    left = cut_off(whole, [output.name for output in concrete.outputs])
    (mark,) = (node for node in left.node if node.op == OPERATION)
    loops = [node for node in left.node if "While" in node.op]
    assert len(loops) == 1
    assert len(left.library.function) == 2  # its condition and its body
    assert len(whole.library.function) == 4
    assert mark.input[0].split(":")[0] in {node.name for node in left.node}
    assert not any(name.startswith("^") for node in left.node for name in node.input)


def test_inputs_stay_and_a_graph_without_marks_keeps_its_nodes():
    def function(x):
        return tf.zeros([2]) + 1

    concrete, whole = graph_of(function)
    left = cut_off(whole, [output.name for output in concrete.outputs])
    assert "Placeholder" in {node.op for node in left.node}
    assert names_of(left.node) == names_of(whole.node) - {node.name for node in whole.node if node.op == "NoOp"}
