"""The states of a model's random generators (dropout), which Keras leaves out of weight files."""

from collections.abc import Sequence
from typing import Any


def read_random_states(model: Any) -> list[list[int]]:
    """The state of each generator: its seed and how often it was asked."""
    return [variable.numpy().tolist() for variable in _generators(model)]


def restore_random_states(model: Any, states: Sequence[Sequence[int]]) -> None:
    """Sets the generators to what `read_random_states` returned for the same model."""
    for variable, state in zip(_generators(model), states, strict=True):
        variable.assign(state)


def _generators(model: Any) -> list[Any]:
    """`non_trainable_variables` has them and `weights` has not (Keras 3)."""
    weights = {id(variable) for variable in model.weights}
    return [variable for variable in model.non_trainable_variables if id(variable) not in weights]
