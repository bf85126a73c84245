"""Random shifts, rotations and mirror images of training images: one projective transform an image."""

import math
from typing import Any

import tensorflow as tf

from models.training.config import TrainingConfig


def is_augmented(config: TrainingConfig) -> bool:
    """Whether any augmentation is switched on."""
    return bool(config.shift or config.rotation or config.flip)


def augment(images: Any, seed: Any, config: TrainingConfig, *, fill: float) -> Any:
    """Moves each image by a random transform of its own, bilinear in between.

    What moves in from outside has the value `fill`, as in He et al. 2016 (section 4.2, padding by zeros). The
    transforms depend on `seed` alone, not on hidden state as those of Keras' augmentation layers do: a resumed training
    sees the same images as one that was never interrupted.

    Args:
        images: `(batch, height, width, channels) float32`.
        seed: `(2,)` integers.
        config: `shift` (share of height and width), `rotation` (degrees), `flip`.
        fill: The pixel value outside of the image.

    Returns:
        `(batch, height, width, channels) float32`.
    """
    size = tf.shape(images)[1:3]
    return tf.raw_ops.ImageProjectiveTransformV3(
        images=images,
        transforms=_transforms(tf.shape(images)[0], tf.cast(size, tf.float32), seed, config),
        output_shape=size,
        fill_value=fill,
        interpolation="BILINEAR",
        fill_mode="CONSTANT",
    )


def _transforms(batch: Any, size: Any, seed: Any, config: TrainingConfig) -> Any:
    """Eight numbers an image, `(batch, 8)`: a0 a1 a2 b0 b1 b2 0 0.

    The output at (x, y) is the input at (a0 x + a1 y + a2, b0 x + b1 y + b2).
    """
    # Four uniform numbers in [-1, 1) an image: shift down, shift right, rotation, flip.
    uniform = tf.random.stateless_uniform([4, batch], seed, -1.0, 1.0)
    height, width = size[0], size[1]
    down, right = uniform[0] * config.shift * height, uniform[1] * config.shift * width
    angle = uniform[2] * (config.rotation * math.pi / 180.0)
    mirror = tf.where(uniform[3] < 0.0, -1.0, 1.0) if config.flip else tf.ones([batch])
    a0, a1, b0, b1 = mirror * tf.cos(angle), -mirror * tf.sin(angle), tf.sin(angle), tf.cos(angle)
    center_x, center_y = (width - 1.0) / 2.0, (height - 1.0) / 2.0
    a2 = center_x - a0 * center_x - a1 * center_y - right
    b2 = center_y - b0 * center_x - b1 * center_y - down
    zero = tf.zeros([batch])
    return tf.stack([a0, a1, a2, b0, b1, b2, zero, zero], axis=1)
