"""The `tf.distribute` strategies by name, and a model that trains under each of them."""

from typing import Any

import keras
import tensorflow as tf


def build_strategy(name: str) -> Any:
    """The strategy called `name`; it takes its devices from the machine and, across machines, from `TF_CONFIG`.

    Args:
        name: "none" (the default device), "mirrored" (all GPUs of this machine), or "multi_worker_mirrored" (all GPUs
            of all workers that `TF_CONFIG` lists; each worker runs the same command with a run folder of its own).
    """
    builders = {
        "none": tf.distribute.get_strategy,
        "mirrored": tf.distribute.MirroredStrategy,
        "multi_worker_mirrored": tf.distribute.MultiWorkerMirroredStrategy,
    }
    return builders[name]()


class DistributedModel(keras.Model):
    """A functional model whose `fit` works with several workers.

    Keras 3.15 reduces the figures of a step a second time, along an axis that scalars lack, where there are several
    workers (`reduce_per_replica` in `keras/src/backend/tensorflow/trainer.py`), and builds itself from a batch that it
    takes away from the training. Make it outside of the strategy's scope, over layers made inside, and call `fit`
    inside.
    """

    train_function: Any
    test_function: Any

    def make_train_function(self, force: bool = False) -> Any:
        """One optimizer step on all replicas, as a graph."""
        if self.train_function is None or force:
            self.train_function = self._run(self.train_step)
        return self.train_function

    def make_test_function(self, force: bool = False) -> Any:
        """One evaluation step on all replicas, as a graph."""
        if self.test_function is None or force:
            self.test_function = self._run(self.test_step)
        return self.test_function

    def _run(self, step: Any) -> Any:
        """`step` on every replica; its figures are those of the metrics, which are the same everywhere."""

        def run(iterator: Any) -> Any:
            strategy = self.distribute_strategy
            figures = strategy.run(step, args=(next(iterator),))
            return {name: strategy.experimental_local_results(value)[0] for name, value in figures.items()}

        return tf.function(run, reduce_retracing=True)
