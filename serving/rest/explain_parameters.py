"""The member `parameters` of an explain request: which score is asked about, and against which."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from serving.errors import invalid_argument
from serving.rest.json_text import show
from serving.types import Explanation

PREDICTED = -1
NAMES = ("target", "contrast", "top_k")

_MAX_INDEX = 2**31


@dataclass(frozen=True)
class Parameters:
    """What is asked.

    Args:
        target: The class to explain, by index or label, or a list with one for each instance; None: the predicted one.
        contrast: The class that it is compared with, likewise; None: none.
        top_k: How many of the highest scores are explained; -1: all.
    """

    target: Any = None
    contrast: Any = None
    top_k: int = 1


def read_parameters(parameters: Any) -> Parameters:
    """The parameters, each left at its default where it is absent or null.

    Raises:
        ServingError: INVALID_ARGUMENT.
    """
    if parameters is None:
        return Parameters()
    if not isinstance(parameters, dict):
        raise invalid_argument(f"'parameters' must be an object. Received: {show(parameters)}.")
    for name in parameters:
        if name not in NAMES:
            raise invalid_argument(f"'parameters' may hold {', '.join(NAMES)}. Received: {show(name)}.")
    target, contrast, top_k = (parameters.get(name) for name in NAMES)
    if top_k is None:
        return Parameters(target, contrast)
    if not isinstance(top_k, int) or isinstance(top_k, bool) or (top_k < 1 and top_k != -1):
        raise invalid_argument(
            f"`top_k` must be a positive integer, or -1 for all classes. Received: top_k={show(top_k)}."
        )
    for name, value in (("target", target), ("contrast", contrast)):
        if value is not None:
            raise invalid_argument(
                f"`{name}` and `top_k` exclude each other. Received: {name}={show(value)}, top_k={top_k}. "
                "Leave one out."
            )
    return Parameters(top_k=top_k)


def target_indices(name: str, value: Any, batch: int, explanation: Explanation) -> np.ndarray:
    """The class of each instance.

    Args:
        name: `target` or `contrast`, for errors.
        value: What the request gave.
        batch: Number of instances.
        explanation: The labels and number of targets.

    Returns:
        `(batch,) int32`; -1 stands for the predicted class.

    Raises:
        ServingError: INVALID_ARGUMENT.
    """
    if not isinstance(value, list):
        return np.full(batch, _index(name, value, explanation), np.int32)
    if len(value) != batch:
        raise invalid_argument(
            f"`{name}` must be one class, or a list with one for each instance. Received: {len(value)} {name}s "
            f"for {batch} instances."
        )
    return np.array([_index(name, one, explanation) for one in value], np.int32)


def _index(name: str, target: Any, explanation: Explanation) -> int:
    labels = explanation.class_labels
    if isinstance(target, str):
        if target in labels:
            return labels.index(target)
        known = f"one of {', '.join(labels)}" if labels else "an index: this model has no class labels"
        raise invalid_argument(f"`{name}` must be {known}. Received: {name}={show(target)}.")
    if not isinstance(target, int) or isinstance(target, bool):
        raise invalid_argument(
            f"`{name}` must be a class index, a class label, or a list with one for each instance. "
            f"Received: {name}={show(target)}."
        )
    num_targets = explanation.num_targets
    if target < PREDICTED or target >= (_MAX_INDEX if num_targets is None else num_targets):
        allowed = "at least 0" if num_targets is None else f"in [0, {num_targets - 1}]"
        raise invalid_argument(f"`{name}` must be {allowed}, or -1 for the predicted class. Received: {name}={target}.")
    return target
