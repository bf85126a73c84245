"""The signatures of a model as a message; REST writes the same message as JSON."""

from collections.abc import Mapping

from serving.grpc.tensors import encode_tensor
from serving.protos import signature_pb2
from serving.protos.convert import data_type
from serving.protos.get_model_metadata_pb2 import SignatureDefMap
from serving.types import Signature, TensorInfo


def signature_def_map(signatures: Mapping[str, Signature]) -> SignatureDefMap:
    """The signatures as GetModelMetadata answers them."""
    message = SignatureDefMap()
    for name, signature in signatures.items():
        entry = message.signature_def[name]
        entry.method_name = signature.method_name
        for key, info in signature.inputs.items():
            _write_tensor_info(info, entry.inputs[key])
        for key, info in signature.outputs.items():
            _write_tensor_info(info, entry.outputs[key])
        for key, array in signature.defaults.items():
            encode_tensor(array, entry.defaults[key])
    return message


def _write_tensor_info(info: TensorInfo, message: signature_pb2.TensorInfo) -> None:
    message.name = info.tensor_name or info.name
    message.dtype = data_type(info.dtype)
    if info.shape is None:
        message.tensor_shape.unknown_rank = True
        return
    message.tensor_shape.SetInParent()  # a scalar has a shape too, without dimensions
    for size in info.shape:
        message.tensor_shape.dim.add(size=-1 if size is None else size)
