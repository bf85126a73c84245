"""PredictionService, ModelService and grpc.health.v1 over the data plane."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from serving.errors import Code, ServingError, invalid_argument
from serving.grpc.lazy import LazyRpcs
from serving.grpc.rpc import Rpc
from serving.grpc.tensors import decode_tensor, encode_tensor
from serving.grpc.unary import Call, unary
from serving.protos import predict_pb2
from serving.protos.convert import model_spec_from_proto, model_spec_to_proto
from serving.types import ModelSpec

if TYPE_CHECKING:
    from serving.data_plane import DataPlane
    from serving.grpc.guard import RpcGuard
    from serving.metrics import Metrics
    from serving.protos import get_model_metadata_pb2, get_model_status_pb2

PREDICTION_SERVICE = "tensorflow.serving.PredictionService"
MODEL_SERVICE = "tensorflow.serving.ModelService"
OPEN_INFERENCE_SERVICE = "inference.GRPCInferenceService"
HEALTH_SERVICE = "grpc.health.v1.Health"


class Services:
    """PredictionService, ModelService, the Open Inference Protocol and grpc.health.v1.

    Args:
        data_plane: What answers.
        metrics: Where each request is counted.
        tensor_content: Reply in `tensor_content` instead of the typed fields.
        health: Whether grpc.health.v1 is among them.
        guard: What stands before every RPC.
    """

    def __init__(
        self,
        data_plane: "DataPlane",
        metrics: "Metrics",
        *,
        tensor_content: bool = False,
        health: bool = True,
        guard: "RpcGuard | None" = None,
    ) -> None:
        service = Service(data_plane, metrics, tensor_content=tensor_content)
        self._guard = guard
        self._known: dict[str, Rpc] = {f"/{PREDICTION_SERVICE}/Predict": service.predict_rpc()}
        self._lazy = [
            LazyRpcs(PREDICTION_SERVICE, service.other_predictions),
            LazyRpcs(MODEL_SERVICE, service.model_service),
            LazyRpcs(OPEN_INFERENCE_SERVICE, lambda: _open_inference(data_plane, metrics)),
        ]
        if health:
            self._lazy.append(LazyRpcs(HEALTH_SERVICE, lambda: _health(data_plane)))

    def admit(self, path: str, metadata: Sequence[tuple[str, str | bytes]]) -> Rpc:
        """What answers a call; called in the context that its task will have.

        Raises:
            ServingError: There is no such RPC, or the client may not call it now.
        """
        rpc = self._known.get(path) or self._find(path)
        return rpc if self._guard is None else self._guard.admit(path, metadata, rpc)

    def _find(self, path: str) -> Rpc:
        for each in self._lazy:
            rpc = each.find(path)
            if rpc is not None:
                self._known[path] = rpc
                return rpc
        raise ServingError(Code.UNIMPLEMENTED, f"Method not found! Received: {path!r}.")


def _open_inference(data_plane: "DataPlane", metrics: "Metrics") -> dict[str, Rpc]:
    from serving.grpc.kserve import InferenceProtocolService

    return InferenceProtocolService(data_plane, metrics).rpcs()


def _health(data_plane: "DataPlane") -> dict[str, Rpc]:
    from serving.grpc.health import HealthService

    return HealthService(data_plane).rpcs()


class Service:
    """The RPCs of TensorFlow Serving.

    Args:
        data_plane: What answers.
        metrics: Where each request is counted.
        tensor_content: Reply in `tensor_content` instead of the typed fields.
    """

    def __init__(self, data_plane: "DataPlane", metrics: "Metrics", *, tensor_content: bool = False) -> None:
        self._data_plane = data_plane
        self._metrics = metrics
        self._tensor_content = tensor_content

    def predict_rpc(self) -> Rpc:
        """The RPC that most requests are for."""
        return unary(self._metrics, self.predict, predict_pb2.PredictRequest)

    def other_predictions(self) -> dict[str, Rpc]:
        """The others of PredictionService, by name."""
        from serving.grpc.inference import InferenceRpcs
        from serving.protos import get_model_metadata_pb2

        metadata = unary(self._metrics, self.get_model_metadata, get_model_metadata_pb2.GetModelMetadataRequest)
        return {"GetModelMetadata": metadata, **InferenceRpcs(self._data_plane, self._metrics).rpcs()}

    def model_service(self) -> dict[str, Rpc]:
        """ModelService's, by name."""
        from serving.grpc.reload import ReloadRpc
        from serving.protos import get_model_status_pb2, model_management_pb2

        reload = ReloadRpc(self._data_plane, self._metrics).handle_reload_config_request
        return {
            "GetModelStatus": unary(self._metrics, self.get_model_status, get_model_status_pb2.GetModelStatusRequest),
            "HandleReloadConfigRequest": unary(self._metrics, reload, model_management_pb2.ReloadConfigRequest),
        }

    async def predict(
        self, request: predict_pb2.PredictRequest, timeout_s: float | None, call: Call
    ) -> predict_pb2.PredictResponse:
        """Named tensors in, named tensors out, of any signature: `explain` and `explain_target` among them."""
        asked = _required_spec(request)
        call.asks(self._data_plane, asked.name)
        spec, _ = self._data_plane.signature(asked)
        call.answered_by(spec)
        inputs = {name: decode_tensor(tensor, name) for name, tensor in request.inputs.items()}
        prediction = await self._data_plane.predict(
            spec, inputs, output_filter=tuple(request.output_filter), timeout_s=timeout_s
        )
        call.answered_by(prediction.spec)
        reply = predict_pb2.PredictResponse()
        model_spec_to_proto(prediction.spec, reply.model_spec)
        for name, array in prediction.outputs.items():
            encode_tensor(array, reply.outputs[name], tensor_content=self._tensor_content)
        return reply

    async def get_model_metadata(
        self, request: "get_model_metadata_pb2.GetModelMetadataRequest", _timeout_s: float | None, call: Call
    ) -> "get_model_metadata_pb2.GetModelMetadataResponse":
        """The signatures of a model, in an Any of SignatureDefMap."""
        from serving.grpc.metadata import signature_def_map
        from serving.protos import get_model_metadata_pb2

        if not request.HasField("model_spec"):
            raise invalid_argument("Missing ModelSpec")
        if not request.metadata_field:
            raise invalid_argument("GetModelMetadataRequest must specify at least one metadata_field")
        for field in request.metadata_field:
            if field != "signature_def":
                raise invalid_argument(f"Metadata field {field} is not supported")
        asked = _required_spec(request)
        call.asks(self._data_plane, asked.name)
        spec, signatures, _ = self._data_plane.resolve(asked)
        call.answered_by(spec)
        reply = get_model_metadata_pb2.GetModelMetadataResponse()
        model_spec_to_proto(spec, reply.model_spec, signature_name=False)
        reply.metadata["signature_def"].Pack(signature_def_map(signatures))
        return reply

    async def get_model_status(
        self, request: "get_model_status_pb2.GetModelStatusRequest", _timeout_s: float | None, call: Call
    ) -> "get_model_status_pb2.GetModelStatusResponse":
        """The versions of a model, newest first; a label is ignored, as TensorFlow Serving ignores it."""
        from serving.protos import get_model_status_pb2

        if not request.HasField("model_spec"):
            raise invalid_argument("Missing ModelSpec")
        chosen = request.model_spec.version.value if request.model_spec.HasField("version") else None
        status = self._data_plane.status(request.model_spec.name, chosen)
        call.model, call.version = status.name, chosen
        reply = get_model_status_pb2.GetModelStatusResponse()
        for version in status.versions:
            status_proto = {"error_code": version.error_code, "error_message": version.error_message}
            reply.model_version_status.add(version=version.version, state=int(version.state), status=status_proto)
        return reply


def _required_spec(request: Any) -> ModelSpec:
    if not request.HasField("model_spec"):
        raise invalid_argument("Missing ModelSpec")
    return model_spec_from_proto(request.model_spec)
