"""Between the serving types and the messages: dtypes and model specs."""

from collections.abc import Mapping

import numpy as np

from serving.errors import Code, ServingError, invalid_argument
from serving.protos import model_pb2, types_pb2
from serving.types import ModelSpec

# NumPy's name of a dtype (`bfloat16` is that of ml_dtypes) to TensorFlow's number.
DATA_TYPES: Mapping[str, types_pb2.DataType] = {
    "float32": types_pb2.DT_FLOAT,
    "float64": types_pb2.DT_DOUBLE,
    "float16": types_pb2.DT_HALF,
    "bfloat16": types_pb2.DT_BFLOAT16,
    "int8": types_pb2.DT_INT8,
    "int16": types_pb2.DT_INT16,
    "int32": types_pb2.DT_INT32,
    "int64": types_pb2.DT_INT64,
    "uint8": types_pb2.DT_UINT8,
    "uint16": types_pb2.DT_UINT16,
    "uint32": types_pb2.DT_UINT32,
    "uint64": types_pb2.DT_UINT64,
    "bool": types_pb2.DT_BOOL,
    "complex64": types_pb2.DT_COMPLEX64,
    "complex128": types_pb2.DT_COMPLEX128,
    "object": types_pb2.DT_STRING,
}

# NumPy works out the name of a dtype anew, in Python, each time that it is asked.
_NUMBERS = {np.dtype(name): number for name, number in DATA_TYPES.items() if name != "bfloat16"}


def data_type(dtype: np.dtype) -> types_pb2.DataType:
    """TensorFlow's number of a dtype; `object`, `S` and `U` are strings.

    Raises:
        ServingError: UNIMPLEMENTED; TensorFlow has no such type.
    """
    number = _NUMBERS.get(dtype)
    if number is not None:
        return number
    name = "object" if dtype.kind in "SU" else dtype.name
    if name not in DATA_TYPES:
        raise ServingError(
            Code.UNIMPLEMENTED, f"Expected a dtype that TensorFlow has: {', '.join(DATA_TYPES)}. Received: {dtype}."
        )
    return DATA_TYPES[name]


def model_spec_from_proto(message: model_pb2.ModelSpec) -> ModelSpec:
    """Reads which model, version and signature is meant.

    Raises:
        ServingError: INVALID_ARGUMENT; there is no name.
    """
    if not message.name:
        raise invalid_argument("ModelSpec has no name specified.")
    choice = message.WhichOneof("version_choice")
    return ModelSpec(
        name=message.name,
        version=message.version.value if choice == "version" else None,
        label=message.version_label if choice == "version_label" else None,
        signature_name=message.signature_name,
    )


def model_spec_to_proto(spec: ModelSpec, message: model_pb2.ModelSpec, *, signature_name: bool = True) -> None:
    """Writes what answered: name, version and signature, never the label."""
    message.name = spec.name
    if spec.version is not None:
        message.version.value = spec.version
    if signature_name:
        message.signature_name = spec.signature_name
