"""What is covered: how a model is built, and the images that suit it."""

import importlib
import inspect
import re
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

CLASSES = 10
# Of a model that names no smallest size.
DEFAULT_SIZE = 32
_AT_LEAST = re.compile(r"at least\s+(\d+)\s*x\s*\d+")


@dataclass(frozen=True)
class Subject:
    """A model to cover.

    Args:
        build: Makes it, with fresh weights, for square images of three channels.
        preprocess: From pixels of 0 to 255, `(batch, size, size, 3) float32`, to what the model takes.
    """

    build: Callable[[], keras.Model]
    preprocess: Callable[[np.ndarray], np.ndarray]


# Makes the subject of each name when it is looked at.
Registry = Mapping[str, Callable[[], Subject]]


def application(name: str) -> Subject:
    """A model of `keras.applications` at the smallest size that it accepts, for 10 classes."""
    build = getattr(keras.applications, name)
    size = smallest_size(build)
    # Each family has its own `preprocess_input` in the module that defines it.
    preprocess = sys.modules[build.__module__].preprocess_input
    return Subject(
        lambda: build(weights=None, classes=CLASSES, input_shape=(size, size, 3)),
        lambda images: np.asarray(preprocess(images.copy()), np.float32),
    )


def smallest_size(build: Callable[..., keras.Model]) -> int:
    """The smallest edge of an image that a constructor accepts, in pixels: asked for one pixel, it names it."""
    try:
        build(weights=None, classes=CLASSES, input_shape=(1, 1, 3))
    except ValueError as error:
        found = _AT_LEAST.search(str(error))
        return int(found.group(1)) if found else DEFAULT_SIZE
    return DEFAULT_SIZE


def application_names() -> list[str]:
    """The models that this version of Keras has."""
    return [name for name, member in vars(keras.applications).items() if inspect.isfunction(member)]


class _Applications(dict[str, Callable[[], Subject]]):
    """All applications, each looked up when it is asked for."""

    def __missing__(self, name: str) -> Callable[[], Subject]:
        return lambda: application(name)


APPLICATIONS: Registry = _Applications()


def subject(registry: str, name: str) -> Subject:
    """A subject from a registry that another process can find.

    Args:
        registry: Where it is, `package.module:attribute`.
        name: The subject's name in it.
    """
    module, _, attribute = registry.partition(":")
    found: Any = getattr(importlib.import_module(module), attribute)
    made: Subject = found[name]()
    return made
