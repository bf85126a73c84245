"""The body of `/infer`: JSON, and behind it the bytes of the tensors that say so (the binary extension)."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from serving.errors import invalid_argument
from serving.inference_protocol.datatypes import datatype_of, decode_raw, dtype_of, encode_raw, read_shape
from serving.inference_protocol.requests import (
    InferReply,
    InferRequest,
    RequestedOutput,
    refuse_shared_memory,
)
from serving.rest.encode import encode_json
from serving.rest.json_text import check_depth, parse_json, show
from serving.rest.limits import MAX_JSON_DEPTH
from serving.rest.v2.number_arrays import read_document
from serving.rest.v2.tensors import decode_data, encode_data

# Parameters of a tensor: it travels behind the JSON, in this many bytes; the output is wanted so; its classes are.
BINARY_SIZE, BINARY, CLASSES = "binary_data_size", "binary_data", "classification"

# Parameter of a request: all outputs are wanted behind the JSON.
BINARY_OUTPUT = "binary_data_output"

_SCALARS = (str, int, float, bool)


def decode_request(content: bytes, header_length: int | None, *, max_depth: int = MAX_JSON_DEPTH) -> InferRequest:
    """Reads a request.

    Args:
        content: The body.
        header_length: The length of the JSON where binary data follows it, as the header
            `Inference-Header-Content-Length` says; None: all of it is JSON.
        max_depth: Levels of lists and objects in the JSON.

    Raises:
        ServingError: INVALID_ARGUMENT; malformed, or its parts contradict one another. UNIMPLEMENTED: shared memory.
    """
    if header_length is not None and header_length > len(content):
        raise invalid_argument(
            f"Inference-Header-Content-Length must be the length of the JSON in a body of {len(content)} bytes. "
            f"Received: {header_length}."
        )
    header = content if header_length is None else content[:header_length]
    check_depth(header, max_depth)
    document, booleans = read_document(header), False
    if document is None:
        document = parse_json(header)
        # One letter is found 20 times faster than a word, and where it is absent so is the word.
        booleans = (b"r" in header and b"true" in header) or (b"l" in header and b"false" in header)
    # A view, so that a tensor of many megabytes isn't copied.
    binary = memoryview(content)[len(content) if header_length is None else header_length :]
    return InferRequest(
        inputs=_inputs(_objects(document, "inputs", required=True), binary, booleans=booleans),
        outputs=tuple(_output(output) for output in _objects(document, "outputs")),
        parameters=_parameters(document, "the request"),
        request_id=_string(document, "id", "the request", default=""),
    )


def encode_reply(model_name: str, request: InferRequest, reply: InferReply) -> tuple[bytes, int | None]:
    """Writes the answer to a request.

    Args:
        model_name: As it was asked for.
        request: What says which outputs are wanted as bytes.
        reply: The answer.

    Returns:
        The body, and the length of its JSON where binary data follows it.

    Raises:
        ServingError: INVALID_ARGUMENT; an output that is wanted in JSON holds bytes that are no text.
    """
    every = request.parameters.get(BINARY_OUTPUT) is True
    wanted = {output.name: output.binary for output in request.outputs}
    binary: list[bytes] = []
    outputs = []
    for name, array in reply.outputs.items():
        as_bytes = wanted.get(name)
        outputs.append(_encode_output(name, array, binary if (every if as_bytes is None else as_bytes) else None))
    document = {
        "model_name": model_name,
        "model_version": str(reply.spec.version),
        **({"id": request.request_id} if request.request_id else {}),
        "outputs": outputs,
    }
    header = encode_json(document)
    return (b"".join([header, *binary]), len(header)) if binary else (header, None)


def _encode_output(name: str, array: np.ndarray, binary: list[bytes] | None) -> dict[str, Any]:
    entry: dict[str, Any] = {"name": name, "datatype": datatype_of(array.dtype, name), "shape": list(array.shape)}
    if binary is None:
        return {**entry, "data": encode_data(array, name)}
    content = encode_raw(array)
    binary.append(content)
    return {**entry, "parameters": {BINARY_SIZE: len(content)}}


def _inputs(entries: list[dict[str, Any]], binary: memoryview, *, booleans: bool) -> dict[str, np.ndarray]:
    arrays: dict[str, np.ndarray] = {}
    position = 0
    for entry in entries:
        name = _string(entry, "name", "an input")
        if name in arrays:
            raise invalid_argument(f"Inputs must have names of their own. Received: {name!r} twice.")
        parameters = _parameters(entry, f"input {name!r}")
        refuse_shared_memory(parameters, f"Input {name!r}")
        dtype = dtype_of(entry.get("datatype"), name)
        shape = _shape(entry, name)
        size = _binary_size(parameters, name)
        if size is None:
            if "data" not in entry:
                raise invalid_argument(f"Input {name!r} must have 'data', or the parameter {BINARY_SIZE!r}.")
            arrays[name] = decode_data(entry["data"], dtype, shape, name=name, booleans=booleans)
            continue
        if "data" in entry:
            raise invalid_argument(f"Input {name!r} must have 'data' or the parameter {BINARY_SIZE!r}. Received: both.")
        if position + size > len(binary):
            raise invalid_argument(
                f"Input {name!r} takes {size} bytes behind the JSON. Received: {len(binary) - position} that are left. "
                "The header Inference-Header-Content-Length says where the JSON ends."
            )
        arrays[name] = decode_raw(binary[position : position + size], dtype, shape, name)
        position += size
    if position != len(binary):
        raise invalid_argument(
            f"The inputs take {position} bytes behind the JSON. Received: {len(binary)}. Give each input that travels "
            f"there its {BINARY_SIZE!r}."
        )
    return arrays


def _output(entry: dict[str, Any]) -> RequestedOutput:
    name = _string(entry, "name", "an output")
    parameters = _parameters(entry, f"output {name!r}")
    refuse_shared_memory(parameters, f"Output {name!r}")
    binary, classes = parameters.get(BINARY), parameters.get(CLASSES, 0)
    if not (binary is None or isinstance(binary, bool)):
        raise invalid_argument(f"{BINARY!r} of output {name!r} must be true or false. Received: {show(binary)}.")
    if not isinstance(classes, int) or isinstance(classes, bool) or classes < 0:
        raise invalid_argument(
            f"{CLASSES!r} of output {name!r} must be a number of classes. Received: {show(classes)}."
        )
    return RequestedOutput(name, binary, classes)


def _binary_size(parameters: Mapping[str, Any], name: str) -> int | None:
    size = parameters.get(BINARY_SIZE)
    if size is None:
        return None
    if not isinstance(size, int) or isinstance(size, bool) or size < 0:
        raise invalid_argument(f"{BINARY_SIZE!r} of input {name!r} must be a number of bytes. Received: {show(size)}.")
    return size


def _shape(entry: Mapping[str, Any], name: str) -> tuple[int, ...]:
    shape = entry.get("shape")
    if not isinstance(shape, list):
        raise invalid_argument(f"Input {name!r} must have a 'shape', a list. Received: {show(shape)}.")
    return read_shape(shape, name)


def _objects(document: Mapping[str, Any], key: str, *, required: bool = False) -> list[dict[str, Any]]:
    entries = document.get(key)
    if entries is None and not required:
        return []
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise invalid_argument(f"A request must have {key!r}, a list of objects. Received: {show(entries)}.")
    return entries


def _parameters(document: Mapping[str, Any], what: str) -> dict[str, Any]:
    parameters = document.get("parameters")
    if parameters is None:
        return {}
    if not isinstance(parameters, dict) or not all(isinstance(value, _SCALARS) for value in parameters.values()):
        raise invalid_argument(
            f"The 'parameters' of {what} must be an object of strings, numbers and booleans. "
            f"Received: {show(parameters)}."
        )
    return parameters


def _string(document: Mapping[str, Any], key: str, what: str, *, default: str | None = None) -> str:
    value = document.get(key)
    if value is None and default is not None:
        return default
    if not isinstance(value, str):
        raise invalid_argument(f"{key!r} of {what} must be a string. Received: {show(value)}.")
    return value
