"""Writes the model under attack as a SavedModel; in a process of its own, which keeps TensorFlow out of the tests'."""

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


if __name__ == "__main__":
    write_saved_model(sys.argv[1])
