"""Answers Classify, Regress and MultiInference, whatever transport they came by."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from serving.errors import Code, ServingError, invalid_argument
from serving.tasks import Method, Result, Task, make_task
from serving.types import DEFAULT_SIGNATURE, ModelSpec, Signature

if TYPE_CHECKING:
    from serving.data_plane import DataPlane


@dataclass(frozen=True)
class Question:
    """One task of a MultiInference as it is asked, with TensorFlow Serving's `method_name`; see `Method`."""

    model_name: str
    signature_name: str
    method_name: str


def find_task(data_plane: "DataPlane", spec: ModelSpec, method: Method) -> tuple[ModelSpec, Task]:
    """The task of Classify or Regress, and the spec with version and signature name filled in.

    Raises:
        ServingError: The model isn't served, or has no such signature; TensorFlow Serving's codes and texts.
    """
    resolved, signatures, _ = data_plane.resolve(spec)
    signature = signatures.get(resolved.signature_name)
    if signature is None:
        raise invalid_argument(f"No signature was found with the name: {resolved.signature_name}")
    return resolved, _make_task(data_plane, resolved.signature_name, signature, method)


async def infer(
    data_plane: "DataPlane", spec: ModelSpec, task: Task, examples: Sequence[bytes], *, timeout_s: float | None
) -> Result:
    """Answers one task.

    Args:
        data_plane: What runs it.
        spec: As `find_task` gave it.
        task: Likewise.
        examples: Serialized tf.Examples.
        timeout_s: Seconds until nobody wants the answer any more; None: for ever.

    Raises:
        ServingError: What can be wrong with the examples, and what the model answers.
    """
    prediction = await data_plane.predict(
        spec, task.inputs(examples), output_filter=task.output_names, timeout_s=timeout_s
    )
    return task.result(prediction.outputs, len(examples))


def find_tasks(data_plane: "DataPlane", spec: ModelSpec, questions: Sequence[Question]) -> tuple[ModelSpec, list[Task]]:
    """The tasks of MultiInference.

    Args:
        data_plane: Where the models are.
        spec: Which model and version answers: that of the first task, as in TensorFlow Serving.
        questions: What is asked, one a task.

    Returns:
        The spec with its version filled in, and the tasks in their order.

    Raises:
        ServingError: TensorFlow Serving's codes and texts.
    """
    resolved, signatures, _ = data_plane.resolve(spec)
    tasks: dict[str, Task] = {}
    for question in questions:
        name = question.signature_name or DEFAULT_SIGNATURE
        if not question.model_name:
            raise invalid_argument("Found ModelSpec with an empty model name.")
        if question.model_name != spec.name:
            raise invalid_argument("All ModelSpecs in a MultiInferenceRequest must access the same model name.")
        if name in tasks:
            raise invalid_argument(f"Duplicate evaluation of signature: {name}")
        if name not in signatures:
            raise invalid_argument(f"Requested signature not found in model graph: {name}")
        if question.method_name not in {method.value for method in Method}:
            raise ServingError(Code.UNIMPLEMENTED, f"Unsupported signature method_name: {question.method_name}")
        tasks[name] = _make_task(data_plane, name, signatures[name], Method(question.method_name))
    return resolved, list(tasks.values())


async def infer_together(
    data_plane: "DataPlane",
    spec: ModelSpec,
    tasks: Sequence[Task],
    examples: Sequence[bytes],
    *,
    timeout_s: float | None,
) -> list[Result]:
    """Answers the tasks of MultiInference over the same examples, in one run where the engine can.

    Raises:
        ServingError: As `infer`.
    """
    inputs: dict[str, dict[str, np.ndarray]] = {}
    known: dict[tuple[object, ...], dict[str, np.ndarray]] = {}  # parsed once for all that take the same
    for task in tasks:
        key = _reading_key(task.signature)
        if key not in known:
            known[key] = task.inputs(examples)
        inputs[task.signature_name] = known[key]
    outputs = await data_plane.predict_together(
        spec, inputs, output_filters={task.signature_name: task.output_names for task in tasks}, timeout_s=timeout_s
    )
    return [task.result(outputs[task.signature_name], len(examples)) for task in tasks]


def _make_task(data_plane: "DataPlane", name: str, signature: Signature, method: Method) -> Task:
    if data_plane.checks_method_names and signature.method_name != method.value:
        kind = {Method.CLASSIFY: "classification", Method.REGRESS: "regression"}[method]
        raise invalid_argument(
            f"Expected {kind} signature method_name to be {method.value}. Was: {signature.method_name}"
        )
    return make_task(name, signature, method)


def _reading_key(signature: Signature) -> tuple[object, ...]:
    if signature.example_reading is None:
        return ()
    return tuple((name, info.dtype, info.shape) for name, info in signature.inputs.items())
