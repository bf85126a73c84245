"""Tiny real models in place of `keras.applications`, and processes that end badly."""

import os
import signal
import time

import keras
import numpy as np
from keras import layers

from whyserve.coverage.subjects import Subject


def small_network() -> keras.Model:
    """Convolution, batch normalisation, ReLU, dense."""
    return keras.Sequential(
        [
            keras.Input((8, 8, 3), name="image"),
            layers.Conv2D(4, 3, name="convolution"),
            layers.BatchNormalization(name="normalization"),
            layers.ReLU(name="relu"),
            layers.Dropout(0.5, name="dropout"),
            layers.GlobalAveragePooling2D(name="pooling"),
            layers.Dense(10, activation="softmax", name="probabilities"),
        ],
        name="small",
    )


def _scaled(images: np.ndarray) -> np.ndarray:
    return images / np.float32(127.5) - 1


def small() -> Subject:
    return Subject(small_network, _scaled)


def _unexplained_network() -> keras.Model:
    image = keras.Input((8, 8, 3), name="image")
    running = layers.Flatten()(keras.ops.cumprod(image, axis=1))
    return keras.Model(image, layers.Dense(10, activation="softmax")(running), name="unexplained")


def unexplained() -> Subject:
    return Subject(_unexplained_network, _scaled)


def _killed() -> keras.Model:
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError


def killed() -> Subject:
    return Subject(_killed, _scaled)


def _broken() -> keras.Model:
    raise RuntimeError("the constructor gave up")


def broken() -> Subject:
    return Subject(_broken, _scaled)


def _greedy() -> keras.Model:
    held = np.ones(1 << 28)  # 2 GB, touched
    time.sleep(60)
    raise AssertionError(held)


def greedy() -> Subject:
    return Subject(_greedy, _scaled)


REGISTRY = {
    "small": small,
    "unexplained": unexplained,
    "killed": killed,
    "broken": broken,
    "greedy": greedy,
}
