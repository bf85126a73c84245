"""Writes SavedModels, the one under attack or a large one, in a process of its own: the tests' has no TensorFlow."""

import sys

from tests.serving.bundles import FEATURES, kernel_of


def write_saved_model(path: str) -> None:
    """Writes probabilities = softmax(x @ kernel), with the kernel of version 1."""
    import tensorflow as tf

    module = tf.Module()
    module.kernel = tf.Variable(kernel_of(1))

    @tf.function(input_signature=[tf.TensorSpec([None, FEATURES], tf.float32, name="x")])
    def predict(x):
        return {"probabilities": tf.nn.softmax(x @ module.kernel)}

    tf.saved_model.save(module, path, signatures={"serving_default": predict})


def write_large_saved_model(path: str, units: int) -> None:
    """Writes y = x @ first @ second, whose second kernel has `units` x `units` float32."""
    import tensorflow as tf

    module = tf.Module()
    module.first = tf.Variable(tf.ones((FEATURES, units)))
    module.second = tf.Variable(tf.ones((units, units)))

    @tf.function(input_signature=[tf.TensorSpec([None, FEATURES], tf.float32, name="x")])
    def predict(x):
        return {"y": x @ module.first @ module.second}

    tf.saved_model.save(module, path, signatures={"serving_default": predict})


if __name__ == "__main__":
    if len(sys.argv) > 2:
        write_large_saved_model(sys.argv[1], int(sys.argv[2]))
    else:
        write_saved_model(sys.argv[1])
