"""Asks a server over gRPC: TensorFlow Serving's PredictionService, explanations by the signature's name."""

from collections.abc import Mapping
from typing import Any

import grpc
import numpy as np

from serving.errors import ServingError
from serving.grpc.tensors import decode_tensor, encode_tensor
from serving.protos import model_pb2, signature_pb2, types_pb2
from serving.protos.convert import DATA_TYPES
from serving.protos.get_model_metadata_pb2 import GetModelMetadataRequest, GetModelMetadataResponse, SignatureDefMap
from serving.protos.predict_pb2 import PredictRequest, PredictResponse
from serving.types import DEFAULT_SIGNATURE, TensorInfo
from whyserve.client.access import Access
from whyserve.client.base import PREDICTED, Answer, ModelDescription, Targets
from whyserve.client.tensors import explain_with
from whyserve.errors import CommandError

SERVICE = "/tensorflow.serving.PredictionService/"
# Answers with relevance are as large as the inputs: gRPC's own limit of 4 MiB is a batch of seven 224x224 photographs.
OPTIONS = (("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1))
SIGNATURE_DEF = "signature_def"


class GrpcClient:
    """Asks one model of a server over gRPC.

    Args:
        address: The server, as in `localhost:8500`.
        name: The model's name.
        version: The version to ask; the newest by default.
        timeout_s: How long one answer may take, in seconds.
        tls: Whether the server speaks TLS.
        access: What is shown to the server, and what it is trusted by.
    """

    def __init__(
        self,
        address: str,
        name: str,
        *,
        version: int | None = None,
        timeout_s: float = 60.0,
        tls: bool = False,
        access: Access = Access(),  # noqa: B008 -- it can't be changed
    ) -> None:
        self.place = f"{'grpcs' if tls else 'grpc'}://{address}"
        if tls:
            self._channel = grpc.secure_channel(address, access.grpc_credentials(), options=OPTIONS)
        else:
            self._channel = grpc.insecure_channel(address, options=OPTIONS)
        self._metadata = tuple(access.headers().items())
        self._spec = model_pb2.ModelSpec(name=name)
        if version is not None:
            self._spec.version.value = version
        self._timeout_s = timeout_s
        self._description: ModelDescription | None = None

    def describe(self) -> ModelDescription:
        """The model's metadata."""
        if self._description is None:
            request = GetModelMetadataRequest(model_spec=self._spec, metadata_field=[SIGNATURE_DEF])
            response = self._call("GetModelMetadata", request, GetModelMetadataResponse)
            signatures = SignatureDefMap.FromString(response.metadata[SIGNATURE_DEF].value)
            self._description = _description(response.model_spec, signatures)
        return self._description

    def predict(self, inputs: Mapping[str, np.ndarray]) -> Answer:
        """The model's outputs for a batch."""
        version, outputs = self.run(DEFAULT_SIGNATURE, inputs)
        return Answer(self._spec.name, version, outputs)

    def explain(
        self, inputs: Mapping[str, np.ndarray], *, target: Targets = PREDICTED, contrast: Targets = None, top_k: int = 1
    ) -> Answer:
        """Outputs and attributions: of `target` (against `contrast`), or of the `top_k` highest scores."""
        return explain_with(self.run, self.describe(), inputs, target=target, contrast=contrast, top_k=top_k)

    def run(self, signature_name: str, inputs: Mapping[str, np.ndarray]) -> tuple[int, dict[str, np.ndarray]]:
        """Runs a signature.

        Args:
            signature_name: As in the model's metadata.
            inputs: Arrays by input name.

        Returns:
            The version that answered, and the outputs by name.
        """
        request = PredictRequest(model_spec=self._spec)
        request.model_spec.signature_name = signature_name
        for name, array in inputs.items():
            encode_tensor(array, request.inputs[name], tensor_content=True)
        response = self._call("Predict", request, PredictResponse)
        outputs = {name: decode_tensor(tensor, name) for name, tensor in response.outputs.items()}
        return response.model_spec.version.value, outputs

    def close(self) -> None:
        """Closes the connection."""
        self._channel.close()

    def _call(self, method: str, request: Any, response_type: Any) -> Any:
        call = self._channel.unary_unary(
            SERVICE + method,
            request_serializer=type(request).SerializeToString,
            response_deserializer=response_type.FromString,
        )
        try:
            return call(request, timeout=self._timeout_s, metadata=self._metadata)
        except grpc.RpcError as error:
            raise CommandError(_error_text(self.place, error)) from error
        except ServingError as error:
            raise CommandError(error.message) from error


def _error_text(place: str, error: Any) -> str:
    if error.code() == grpc.StatusCode.UNAVAILABLE:
        return (
            f"No server answers at {place} ({error.details()}). Start one with `whyserve serve --port=8500 "
            "--model_name=NAME --model_base_path=/path/to/NAME`, or ask a bundle with `--bundle`."
        )
    if error.code() == grpc.StatusCode.DEADLINE_EXCEEDED:
        return f"{place} did not answer in time. Raise --timeout."
    return f"{place} answered {error.code().name}: {error.details()}"


def _description(spec: model_pb2.ModelSpec, signatures: SignatureDefMap) -> ModelDescription:
    if DEFAULT_SIGNATURE not in signatures.signature_def:
        raise CommandError(
            f"Expected the model '{spec.name}' to have the signature '{DEFAULT_SIGNATURE}'. "
            f"Received: signatures {', '.join(sorted(signatures.signature_def)) or 'none'}"
        )
    signature = signatures.signature_def[DEFAULT_SIGNATURE]
    return ModelDescription(
        name=spec.name,
        version=spec.version.value,
        inputs={name: _tensor(name, info) for name, info in signature.inputs.items()},
        outputs={name: _tensor(name, info) for name, info in signature.outputs.items()},
    )


def _tensor(name: str, info: signature_pb2.TensorInfo) -> TensorInfo:
    dtype = next((key for key, number in DATA_TYPES.items() if number == info.dtype), None)
    if dtype is None:
        raise CommandError(f"No NumPy dtype for {types_pb2.DataType.Name(info.dtype)} of '{name}'.")
    sizes = [dim.size for dim in info.tensor_shape.dim]
    shape = None if info.tensor_shape.unknown_rank else tuple(None if size < 0 else size for size in sizes)
    return TensorInfo(name, np.dtype(dtype), shape)
