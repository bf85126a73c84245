"""Messages of the Open Inference Protocol to requests and back: tensors in raw contents, or in typed ones."""

import math
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from serving.errors import invalid_argument
from serving.inference_protocol.datatypes import (
    as_strings,
    datatype_of,
    decode_raw,
    dtype_of,
    encode_raw,
    read_shape,
    to_objects,
)
from serving.inference_protocol.requests import (
    InferReply,
    InferRequest,
    RequestedOutput,
    refuse_shared_memory,
)
from serving.protos import open_inference_grpc_pb2 as messages

# The field of `InferTensorContents` that holds the elements of a datatype; FP16 and BF16 travel raw only.
FIELDS: Mapping[str, str] = {
    "BOOL": "bool_contents",
    "INT8": "int_contents",
    "INT16": "int_contents",
    "INT32": "int_contents",
    "INT64": "int64_contents",
    "UINT8": "uint_contents",
    "UINT16": "uint_contents",
    "UINT32": "uint_contents",
    "UINT64": "uint64_contents",
    "FP32": "fp32_contents",
    "FP64": "fp64_contents",
    "BYTES": "bytes_contents",
}

# Parameter of a request: False where the client wants typed contents.
BINARY_OUTPUT = "binary_data_output"


def decode_request(message: messages.ModelInferRequest) -> InferRequest:
    """Reads a request.

    Raises:
        ServingError: INVALID_ARGUMENT; its parts contradict one another. UNIMPLEMENTED: shared memory.
    """
    return InferRequest(
        inputs=_inputs(message),
        outputs=tuple(_output(output) for output in message.outputs),
        parameters=_parameters(message.parameters),
        request_id=message.id,
    )


def encode_reply(model_name: str, request: InferRequest, reply: InferReply) -> messages.ModelInferResponse:
    """Writes the answer to a request.

    In raw contents, which every client reads, also Triton's, which reads nothing else; in typed ones where the request
    says `binary_data_output` false, and every output has a type that can be.

    Args:
        model_name: As it was asked for.
        request: What the answer belongs to.
        reply: The answer.
    """
    message = messages.ModelInferResponse(
        model_name=model_name, model_version=str(reply.spec.version), id=request.request_id
    )
    datatypes = {name: datatype_of(array.dtype, name) for name, array in reply.outputs.items()}
    typed = request.parameters.get(BINARY_OUTPUT) is False and FIELDS.keys() >= set(datatypes.values())
    for name, array in reply.outputs.items():
        output = message.outputs.add(name=name, datatype=datatypes[name], shape=array.shape)
        if typed:
            field = getattr(output.contents, FIELDS[datatypes[name]])
            field.extend(as_strings(array) if datatypes[name] == "BYTES" else array.ravel().tolist())
        else:
            message.raw_output_contents.append(encode_raw(array))
    return message


def _inputs(message: messages.ModelInferRequest) -> dict[str, np.ndarray]:
    raw = message.raw_input_contents
    if raw and len(raw) != len(message.inputs):
        raise invalid_argument(
            f"raw_input_contents must hold one entry for each input, or none. Received: {len(raw)} for "
            f"{len(message.inputs)} inputs."
        )
    arrays: dict[str, np.ndarray] = {}
    for position, tensor in enumerate(message.inputs):
        name = tensor.name
        if name in arrays:
            raise invalid_argument(f"Inputs must have names of their own. Received: {name!r} twice.")
        refuse_shared_memory(tensor.parameters, f"Input {name!r}")
        dtype, shape = dtype_of(tensor.datatype, name), read_shape(tensor.shape, name)
        if raw:
            if tensor.HasField("contents"):
                raise invalid_argument(f"Input {name!r} must come in raw or in typed contents. Received: both.")
            arrays[name] = decode_raw(raw[position], dtype, shape, name)
        else:
            arrays[name] = _read_contents(tensor, dtype, shape)
    return arrays


def _read_contents(tensor: Any, dtype: np.dtype, shape: tuple[int, ...]) -> np.ndarray:
    name, field_name = tensor.name, FIELDS.get(tensor.datatype)
    if field_name is None:
        raise invalid_argument(
            f"Input {name!r}: no typed contents exist for {tensor.datatype}. Send it in raw_input_contents."
        )
    filled = [field.name for field, _ in tensor.contents.ListFields()]
    if filled not in ([], [field_name]):
        raise invalid_argument(
            f"Input {name!r} of datatype {tensor.datatype} must come in {field_name}. Received: {', '.join(filled)}."
        )
    field = getattr(tensor.contents, field_name)
    if len(field) != math.prod(shape):
        raise invalid_argument(
            f"Input {name!r} of shape {list(shape)} takes {math.prod(shape)} values in {field_name}. "
            f"Received: {len(field)}."
        )
    if dtype.kind == "O":
        return to_objects(list(field), shape)
    values = np.array(field)  # protobuf lends its buffer to NumPy: one copy
    if dtype.kind in "iu" and values.size:
        limits = np.iinfo(dtype)
        if int(values.min()) < limits.min or int(values.max()) > limits.max:
            raise invalid_argument(
                f"Input {name!r} of datatype {tensor.datatype} must hold whole numbers from {limits.min} to "
                f"{limits.max}. Received: {values.min()} to {values.max()}."
            )
    return values.astype(dtype, copy=False).reshape(shape)


def _output(tensor: Any) -> RequestedOutput:
    parameters = _parameters(tensor.parameters)
    refuse_shared_memory(parameters, f"Output {tensor.name!r}")
    classes = parameters.get("classification", 0)
    if not isinstance(classes, int) or isinstance(classes, bool) or classes < 0:
        raise invalid_argument(
            f"'classification' of output {tensor.name!r} must be a number of classes. Received: {classes!r}."
        )
    return RequestedOutput(tensor.name, classes=classes)


def _parameters(parameters: Mapping[str, messages.InferParameter]) -> dict[str, Any]:
    return dict(_chosen(parameters.items()))


def _chosen(parameters: Iterable[tuple[str, messages.InferParameter]]) -> Iterable[tuple[str, Any]]:
    for name, parameter in parameters:
        choice = parameter.WhichOneof("parameter_choice")
        if choice is not None:
            yield name, getattr(parameter, choice)
