"""Batches of examples for training, validation and prediction, by `tf.data`."""

import math
from typing import Any

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from models.data.dataset import DataSet, Examples
from models.training.augmentation import augment, is_augmented
from models.training.config import TrainingConfig


def num_steps(num_examples: int, batch_size: int) -> int:
    """Batches in one pass; the last may be smaller."""
    return math.ceil(num_examples / batch_size)


def training_batches(
    data: DataSet, config: TrainingConfig, *, first_epoch: int = 0, class_weights: npt.NDArray[np.float32] | None = None
) -> Any:
    """The batches of all epochs from `first_epoch` on, one after the other.

    The order and the augmentation of an epoch depend on `config.seed` and the epoch's number alone, so that an
    interrupted training continues with the batches that it would have seen.

    Args:
        data: Its `train` part is used.
        config: Batch size, epochs, seed, augmentation.
        first_epoch: How many epochs are done.
        class_weights: `(num_classes,)`, the weight of each class in the loss; None for equal weights.

    Returns:
        A `tf.data.Dataset` of images `(batch, height, width, channels) float32`, one-hot classes `(batch, num_classes)
        float32` and, with `class_weights`, weights `(batch,) float32`.
    """
    images, labels = tf.constant(data.train.images), tf.constant(data.train.labels)
    steps = num_steps(len(data.train), config.batch_size)

    def batches_of_epoch(epoch: Any) -> Any:
        seed = tf.stack([config.seed, epoch])
        keys = tf.random.stateless_uniform([len(data.train)], seed, minval=None, maxval=None, dtype=tf.int64)
        order = tf.data.Dataset.from_tensor_slices(tf.argsort(keys, stable=True)).batch(config.batch_size)
        return order.enumerate(start=epoch * steps)

    def load(step: Any, indices: Any) -> tuple[Any, ...]:
        batch = tf.cast(tf.gather(images, indices), tf.float32)
        if is_augmented(config):
            batch = augment(batch, tf.stack([config.seed, step]), config, fill=data.pixel_range[0])
        classes = tf.gather(labels, indices)
        targets = tf.one_hot(classes, len(data.class_labels))
        return (batch, targets) if class_weights is None else (batch, targets, tf.gather(class_weights, classes))

    epochs = tf.data.Dataset.range(first_epoch, config.epochs)
    batches = epochs.flat_map(batches_of_epoch).map(load, num_parallel_calls=tf.data.AUTOTUNE)
    return _shard_by_data(batches.prefetch(tf.data.AUTOTUNE))


def evaluation_batches(examples: Examples, num_classes: int, batch_size: int) -> Any:
    """The examples once, in their order: images `(batch, height, width, channels) float32` and one-hot classes."""

    def load(images: Any, labels: Any) -> tuple[Any, Any]:
        return tf.cast(images, tf.float32), tf.one_hot(labels, num_classes)

    dataset = tf.data.Dataset.from_tensor_slices((examples.images, examples.labels)).batch(batch_size)
    return _shard_by_data(dataset.map(load, num_parallel_calls=tf.data.AUTOTUNE).prefetch(tf.data.AUTOTUNE))


def balanced_class_weights(labels: npt.NDArray[np.int64], num_classes: int) -> npt.NDArray[np.float32]:
    """`examples / (num_classes * count of the class)`, scikit-learn's "balanced"; `(num_classes,) float32`."""
    from sklearn.utils.class_weight import compute_class_weight

    return compute_class_weight("balanced", classes=np.arange(num_classes), y=labels).astype(np.float32)


def _shard_by_data(dataset: Any) -> Any:
    """Several workers share the examples, not the files, of which there are none here."""
    options = tf.data.Options()
    options.experimental_distribute.auto_shard_policy = tf.data.experimental.AutoShardPolicy.DATA
    return dataset.with_options(options)
