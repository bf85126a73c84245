"""Runs a request: any signature, or an explanation of chosen classes, with the outputs as they were asked for."""

import functools
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from serving.checks import choose_outputs
from serving.errors import Code, ServingError, invalid_argument
from serving.inference_protocol.classification import best_classes
from serving.inference_protocol.description import find_signature
from serving.inference_protocol.requests import InferReply, InferRequest, Parameters, RequestedOutput
from serving.types import DEFAULT_SIGNATURE, EXPLAIN_SIGNATURE, Explanation, ModelSpec, Signature

if TYPE_CHECKING:
    from serving.data_plane import DataPlane

# Parameters of an explanation: flat values. A class for each instance comes as an input tensor of the same name.
CONTRAST = "contrast"
EXPLAIN_PARAMETERS = ("target", CONTRAST, "top_k")

MICROSECONDS = 1e6


async def infer(
    data_plane: "DataPlane", spec: ModelSpec, request: InferRequest, *, timeout_s: float | None
) -> InferReply:
    """Answers a request.

    Args:
        data_plane: What answers.
        spec: The model, with its signature filled in.
        request: The request.
        timeout_s: Seconds that the transport grants; the request's parameter `timeout`, in microseconds, may shorten
            them.

    Raises:
        ServingError: Whatever can be wrong with the request, and what the model answers.
    """
    spec, signature = find_signature(data_plane, spec)
    timeout_s = _timeout(request.parameters, timeout_s)
    _refuse_sequences(request.parameters)
    wanted = tuple(output.name for output in request.outputs)
    _, _, explanation = data_plane.resolve(spec)  # before the run, after which the version may be gone
    parameters, inputs = _explain_parameters(request, signature)
    if parameters:
        _check_explains(spec, parameters)
        # The index of the class compared with is an output that the signature itself doesn't have.
        choose_outputs(signature, [name for name in wanted if not (name == CONTRAST and CONTRAST in parameters)])
        outputs = await _explain(data_plane, spec, inputs, parameters, timeout_s)
    else:
        prediction = await data_plane.predict(spec, request.inputs, output_filter=wanted, timeout_s=timeout_s)
        spec, outputs = prediction.spec, prediction.outputs
    return InferReply(spec, _as_wanted(explanation, outputs, request.outputs))


async def _explain(
    data_plane: "DataPlane",
    spec: ModelSpec,
    inputs: Mapping[str, np.ndarray],
    parameters: dict[str, Any],
    timeout_s: float | None,
) -> Mapping[str, np.ndarray]:
    """The outputs of signature `explain` for chosen classes.

    With `top_k` all that belongs to a class gains a second dimension, the classes in the order of their scores:
    relevance (batch, classes, ...), target (batch, classes), and so on.
    """
    from serving.rest.explain import Explainer, explained_signature

    with data_plane.hold(spec) as held:
        signatures = held.signatures
        _, explanation = explained_signature(held.spec, signatures, held.explanation)
        predict = functools.partial(held.predict, timeout_s=timeout_s)
        answers = await Explainer(held.spec, signatures, explanation, predict).answers(inputs, parameters)
    if parameters.get("top_k", 1) == 1:
        return answers[0].outputs
    default = signatures.get(DEFAULT_SIGNATURE)
    of_prediction = {explanation.output_name} if default is None else set(default.outputs)
    return {
        name: array if name in of_prediction else np.stack([answer.outputs[name] for answer in answers], axis=1)
        for name, array in answers[0].outputs.items()
    }


def _explain_parameters(request: InferRequest, signature: Signature) -> tuple[dict[str, Any], Mapping[str, np.ndarray]]:
    """The parameters of an explanation, wherever they stand, and the inputs without them."""
    tensors = {
        name: array
        for name, array in request.inputs.items()
        if name in EXPLAIN_PARAMETERS and name not in signature.inputs
    }
    parameters = {name: request.parameters[name] for name in EXPLAIN_PARAMETERS if name in request.parameters}
    twice = sorted(tensors.keys() & parameters.keys())
    if twice:
        raise invalid_argument(
            f"A class may be given as a parameter or as an input tensor. Received: {twice[0]!r} as both. Leave one out."
        )
    if not tensors:
        return parameters, request.inputs
    parameters |= {name: _values(array) for name, array in tensors.items()}
    return parameters, {name: array for name, array in request.inputs.items() if name not in tensors}


def _check_explains(spec: ModelSpec, parameters: Parameters) -> None:
    if spec.signature_name != EXPLAIN_SIGNATURE:
        raise invalid_argument(
            f"Parameters {', '.join(map(repr, sorted(parameters)))} are those of an explanation. Received: with "
            f"signature {spec.signature_name!r}. Ask '/explain', or model '{spec.name}:{EXPLAIN_SIGNATURE}'."
        )


def _values(array: np.ndarray) -> Any:
    if array.dtype != object:
        return array.tolist()
    texts = [value.decode("utf-8", "replace") for value in array.ravel().tolist()]
    return texts if array.ndim else texts[0]


def _as_wanted(
    explanation: Explanation | None, outputs: Mapping[str, np.ndarray], wanted: tuple[RequestedOutput, ...]
) -> Mapping[str, np.ndarray]:
    if not wanted:
        return outputs
    return {
        output.name: _classified(explanation, outputs[output.name], output) if output.classes else outputs[output.name]
        for output in wanted
    }


def _classified(explanation: Explanation | None, scores: np.ndarray, wanted: RequestedOutput) -> np.ndarray:
    labels = () if explanation is None or explanation.output_name != wanted.name else explanation.class_labels
    return best_classes(scores, wanted.classes, labels=labels, name=wanted.name)


def _timeout(parameters: Parameters, granted_s: float | None) -> float | None:
    timeout = parameters.get("timeout", 0)
    if not isinstance(timeout, int) or isinstance(timeout, bool) or timeout < 0:
        raise invalid_argument(
            f"Parameter 'timeout' must be a whole number of microseconds. Received: {str(timeout)[:40]}."
        )
    if timeout == 0:
        return granted_s
    return timeout / MICROSECONDS if granted_s is None else min(granted_s, timeout / MICROSECONDS)


def _refuse_sequences(parameters: Parameters) -> None:
    sequence = parameters.get("sequence_id")
    if sequence not in (None, 0, ""):
        raise ServingError(
            Code.UNIMPLEMENTED,
            f"Sequences are not served: no request leaves anything behind for the next. Received: "
            f"sequence_id={str(sequence)[:40]}. Leave it out, and send all steps of a sequence in one input.",
        )
