"""Which operation passes relevance how: one function for each type of traced operation, registered by its name."""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import tensorflow as tf

from explain.linear_map import LinearMap
from explain.relevance import Relevance
from explain.trace import Trace

if TYPE_CHECKING:
    from explain.propagation import Walk

# Takes an operation, the relevance of its outputs (None for outputs that hold none) and the walk; sends relevance on.
Propagate = Callable[[tf.Operation, list[Relevance | None], "Walk"], None]
# Makes the linear map of an operation whose kernel is constant, or None if the operation isn't one (two signals, say).
MakeLinearMap = Callable[[tf.Operation, Trace], LinearMap | None]

_LOOP = "It belongs to a loop, which can't be walked: write its steps out, or all at once; Keras' RNN cells are known."
_BRANCH = "It belongs to a branch that is taken or not, which can't be walked: select with `keras.ops.where`."
_CHOICE = "What it returns is a choice (true or false, a position), not an amount that inputs have shares in."
# What is known of operations without a rule.
REASONS: Mapping[str, str] = MappingProxyType(
    dict.fromkeys(
        ("While", "StatelessWhile", "TensorListStack", "TensorListGetItem", "TensorListConcatV2", "TensorListReserve"),
        _LOOP,
    )
    | dict.fromkeys(("ArgMax", "ArgMin", "All", "Any", "IsFinite", "IsInf", "IsNan", "Unique", "LowerBound"), _CHOICE)
    | dict.fromkeys(("Equal", "NotEqual", "Less", "LessEqual", "Greater", "GreaterEqual"), _CHOICE)
    | dict.fromkeys(("If", "StatelessIf", "Case", "StatelessCase", "Merge", "Switch"), _BRANCH)
)

_PROPAGATE: dict[str, Propagate] = {}
_LINEAR_MAPS: dict[str, MakeLinearMap] = {}
PROPAGATE: Mapping[str, Propagate] = MappingProxyType(_PROPAGATE)
LINEAR_MAPS: Mapping[str, MakeLinearMap] = MappingProxyType(_LINEAR_MAPS)


def register(*types: str) -> Callable[[Propagate], Propagate]:
    """Registers how operations of these types pass relevance.

    Args:
        types: TensorFlow's operation types, e.g. `Relu`, `Reshape`.

    Raises:
        ValueError: A type is registered already.

    Example:
        >>> from explain.operations import register
        >>> @register("MyCustomOp")  # doctest: +SKIP
        ... def my_custom_op(op, relevances, walk):
        ...     walk.send(op.inputs[0], relevance=relevances[0].value())
    """

    def add(function: Propagate) -> Propagate:
        _add(_PROPAGATE, types, function)
        return function

    return add


def register_linear_map(*types: str) -> Callable[[MakeLinearMap], MakeLinearMap]:
    """Registers how operations of these types become linear maps, to which a composite's rules apply.

    Raises:
        ValueError: A type is registered already.
    """

    def add(function: MakeLinearMap) -> MakeLinearMap:
        _add(_LINEAR_MAPS, types, function)
        return function

    return add


def _add(registry: dict[str, Any], types: tuple[str, ...], function: object) -> None:
    for name in types:
        if name in registry:
            raise ValueError(f"Operation '{name}' has a relevance rule already.")
        registry[name] = function
