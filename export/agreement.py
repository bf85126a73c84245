"""The signatures of both formats have the names and dtypes that the manifest lists."""

from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from export.errors import IntegrityError
from export.manifest import Manifest, TensorEntry
from export.runners import OnnxRunner, SessionRunner

_ONNX_TYPES = {
    "float16": "tensor(float16)", "float32": "tensor(float)", "float64": "tensor(double)", "int8": "tensor(int8)",
    "int16": "tensor(int16)", "int32": "tensor(int32)", "int64": "tensor(int64)", "uint8": "tensor(uint8)",
    "uint16": "tensor(uint16)", "uint32": "tensor(uint32)", "uint64": "tensor(uint64)", "bool": "tensor(bool)",
    "object": "tensor(string)",
}  # fmt: skip


def check_signatures(manifest: Manifest, session: SessionRunner, onnx: OnnxRunner) -> None:
    """Compare the loaded SavedModel and ONNX files with the manifest.

    Raises:
        IntegrityError: A signature is missing, or an input or output has another name or dtype.
    """
    for name, entry in manifest.signatures.items():
        definition = session.signatures.get(name)
        if definition is None:
            raise IntegrityError(
                f"The SavedModel must have the signature {name!r}. Received: {sorted(session.signatures)}."
            )
        _check(f"SavedModel: inputs of {name!r}", _listed(entry.inputs), _saved(definition.inputs))
        _check(f"SavedModel: outputs of {name!r}", _listed(entry.outputs), _saved(definition.outputs))
        runtime = onnx.sessions[entry.file]
        inputs = {value.name: value.type for value in runtime.get_inputs()}
        outputs = {value.name: value.type for value in runtime.get_outputs()}
        missing = {key: kind for key, kind in _onnx(entry.inputs).items() if inputs.get(key) != kind}
        if missing:
            raise IntegrityError(f"{entry.file}: {name!r} needs the inputs {missing}. Received: {inputs}.")
        _check(f"{entry.file}: outputs of {name!r}", _onnx(entry.outputs), outputs)


def _check(where: str, expected: dict[str, str], found: dict[str, str]) -> None:
    if expected != found:
        raise IntegrityError(f"{where} must be {expected}, as the manifest lists them. Received: {found}.")


def _listed(tensors: Sequence[TensorEntry]) -> dict[str, str]:
    return {tensor.name: tensor.dtype for tensor in tensors}


def _onnx(tensors: Sequence[TensorEntry]) -> dict[str, str]:
    return {tensor.onnx_name: _ONNX_TYPES.get(tensor.dtype, tensor.dtype) for tensor in tensors}


def _saved(infos: Any) -> dict[str, str]:
    names = {name: tf.as_dtype(info.dtype).name for name, info in infos.items()}
    return {name: "object" if dtype == "string" else dtype for name, dtype in names.items()}
