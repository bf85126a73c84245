"""The SavedModel of a bundle: signatures that TensorFlow Serving's loader runs, and the audit that `verify` calls."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf

from explain import ExplainError
from export.errors import ConversionError, InterfaceError
from export.interface import Interface
from export.manifest import EXPLAIN_SIGNATURE, EXPLAIN_TARGET_SIGNATURE, PREDICT_SIGNATURE

TARGET = "target"
PREDICTED_CLASS = -1


@dataclass(frozen=True)
class Signature:
    """A traced function with the names of its inputs and outputs.

    Args:
        function: The concrete function; its flat inputs and outputs are in the order of the names.
        inputs: Specifications by name.
        outputs: Specifications by name.
    """

    function: Any
    inputs: dict[str, tf.TensorSpec]
    outputs: dict[str, tf.TensorSpec]


def trace_signatures(interface: Interface, explainer: Any | None) -> dict[str, Signature]:
    """Trace the signatures of a bundle.

    Args:
        interface: The model as a function of named tensors.
        explainer: What `explain.build_explainer` returned, or None for a bundle that only predicts.

    Raises:
        InterfaceError: The model has an input or output of a name that the explanation needs.
        ConversionError: The model can't be traced.
        ExplainError: An operation of the model can't be explained.
    """
    signatures = {PREDICT_SIGNATURE: _traced(interface.predict, interface.inputs)}
    if explainer is None:
        return signatures
    _check_names(interface, explainer)
    target = tf.TensorSpec((None,), tf.int32, name=TARGET)
    explain_target = _traced(
        lambda tensors: explainer.explain({name: tensors[name] for name in interface.inputs}, tensors[TARGET]),
        {**interface.inputs, TARGET: target},
    )

    def explain(tensors: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        rows = tf.shape(next(iter(tensors.values())))[0]
        return explain_target.function(*tensors.values(), tf.fill([rows], PREDICTED_CLASS))

    signatures[EXPLAIN_SIGNATURE] = _traced(explain, interface.inputs)
    signatures[EXPLAIN_TARGET_SIGNATURE] = explain_target
    return signatures


def write_saved_model(
    directory: Path, model: keras.Model, signatures: dict[str, Signature], explainer: Any | None
) -> None:
    """Write `saved_model.pb` and `variables/` with tag `serve`; `audit` is kept as a function that isn't a signature.

    Raises:
        ConversionError: The model holds something that TensorFlow can't save.
    """
    root = tf.Module(name="whyserve")
    # Keras' variables wrap TensorFlow's; only those are saved.
    root.model_variables = [variable.value for variable in model.variables]
    if explainer is not None:
        root.explainer = explainer.module
        root.audit = _audit(explainer)
    functions = {name: signature.function for name, signature in signatures.items()}
    try:
        tf.saved_model.save(root, str(directory), signatures=functions)
    except (AssertionError, ValueError, TypeError, tf.errors.OpError) as error:
        raise ConversionError(
            f"The model can't be written as a SavedModel: {error} "
            "A layer that keeps TensorFlow objects of its own (tables, raw variables) has to track them as Keras "
            "weights."
        ) from error


def tensor_specs(tensors: dict[str, tf.TensorSpec]) -> list[tuple[str, str, tuple[int | None, ...] | None]]:
    """Name, NumPy dtype and shape of every tensor, as the manifest keeps them."""
    return [(name, _dtype_name(spec.dtype), _shape(spec.shape)) for name, spec in tensors.items()]


def _traced(
    function: Callable[[dict[str, tf.Tensor]], dict[str, tf.Tensor]], inputs: dict[str, tf.TensorSpec]
) -> Signature:
    names: Sequence[str] = list(inputs)

    def flat(*tensors: tf.Tensor) -> dict[str, tf.Tensor]:
        outputs = function(dict(zip(names, tensors, strict=True)))
        return {
            name: tf.identity(tensor) for name, tensor in outputs.items()
        }  # an output may be an input, or twice the same

    # Without AutoGraph, as Keras itself exports: it would rewrite every function that is called, for nothing.
    traceable = tf.function(flat, input_signature=list(inputs.values()), autograph=False)
    try:
        concrete = traceable.get_concrete_function()
    except ExplainError:
        raise  # says which operation of which layer
    except (TypeError, ValueError, AttributeError, NotImplementedError, tf.errors.OpError) as error:
        raise ConversionError(
            f"The model can't be traced into a graph: {error} "
            "A layer that looks at values in Python has to be written with `keras.ops` operations."
        ) from error
    # TensorFlow flattens a dict in the order of its sorted keys.
    outputs = dict(zip(sorted(concrete.structured_outputs), concrete.outputs, strict=True))
    specs = {name: tf.TensorSpec(outputs[name].shape, outputs[name].dtype) for name in concrete.structured_outputs}
    return Signature(concrete, dict(inputs), specs)


def _check_names(interface: Interface, explainer: Any) -> None:
    taken = {
        TARGET,
        "explained_value",
        "conservation_gap",
        "relevance",
        *(f"relevance_{name}" for name in interface.inputs),
        *explainer.layer_outputs.values(),
    }
    clashes = sorted(taken.intersection(interface.outputs) | {TARGET}.intersection(interface.inputs))
    if clashes:
        raise InterfaceError(
            f"The explain signatures have an input {TARGET!r} and outputs {sorted(taken)} of their own. Received: a "
            "model with "
            f"{clashes} among its inputs and outputs. Rename those layers, or export without explanations "
            "(`--no-explain`)."
        )


def _audit(explainer: Any) -> Any:
    names = list(explainer.inputs)
    specs = [tf.TensorSpec(spec.shape, spec.dtype, name) for name, spec in explainer.inputs.items()]

    def audit(*tensors: tf.Tensor) -> dict[str, tf.Tensor]:
        return explainer.audit(dict(zip(names, tensors[:-1], strict=True)), tensors[-1])

    function = tf.function(audit, input_signature=[*specs, tf.TensorSpec((None,), tf.int32, TARGET)], autograph=False)
    return function.get_concrete_function()  # saving the function itself would trace it once more


def _dtype_name(dtype: tf.DType) -> str:
    return "object" if dtype == tf.string else str(dtype.name)


def _shape(shape: tf.TensorShape) -> tuple[int | None, ...] | None:
    return None if shape.rank is None else tuple(shape.as_list())
