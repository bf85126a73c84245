"""The Open Inference Protocol (KServe V2) over gRPC, with the extensions of Triton that its client uses."""

from collections.abc import AsyncGenerator, AsyncIterator
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from google.protobuf.message import DecodeError

from serving.errors import Code, ServingError
from serving.grpc.infer_messages import decode_request, encode_reply
from serving.grpc.rpc import Rpc, RpcContext, StreamRpc, UnaryRpc
from serving.grpc.status import details
from serving.grpc.unary import Call, observe, responder, unary
from serving.inference_protocol.description import (
    EXTENSIONS,
    NOT_SERVED,
    SERVER_NAME,
    ModelDescription,
    describe_model,
    find_signature,
    index,
    is_ready,
    server_version,
)
from serving.inference_protocol.inference import infer
from serving.inference_protocol.requests import model_spec, signature_parameter
from serving.inference_protocol.statistics import VersionStatistics, statistics
from serving.protos import open_inference_grpc_pb2 as messages

if TYPE_CHECKING:
    from serving.data_plane import DataPlane
    from serving.metrics import Metrics

# RPCs of Triton's that aren't served: a key of `NOT_SERVED`, which says why.
NOT_SERVED_RPCS = {
    **dict.fromkeys(("RepositoryModelLoad", "RepositoryModelUnload"), "repository"),
    **dict.fromkeys(
        (
            f"{memory}SharedMemory{verb}"
            for memory in ("System", "Cuda")
            for verb in ("Status", "Register", "Unregister")
        ),
        "shared memory",
    ),
    "TraceSetting": "trace",
    "LogSettings": "log",
}

SERVICE = messages.DESCRIPTOR.services_by_name["GRPCInferenceService"].full_name


class InferenceProtocolService:
    """GRPCInferenceService.

    Args:
        data_plane: What answers.
        metrics: Where each request is counted, and what the statistics are read from.
    """

    def __init__(self, data_plane: "DataPlane", metrics: "Metrics") -> None:
        self._data_plane = data_plane
        self._metrics = metrics

    def rpcs(self) -> dict[str, Rpc]:
        """The RPCs by name."""
        served: dict[str, tuple[Any, Any]] = {
            "ServerLive": (self.server_live, messages.ServerLiveRequest),
            "ServerReady": (self.server_ready, messages.ServerReadyRequest),
            "ModelReady": (self.model_ready, messages.ModelReadyRequest),
            "ServerMetadata": (self.server_metadata, messages.ServerMetadataRequest),
            "ModelMetadata": (self.model_metadata, messages.ModelMetadataRequest),
            "ModelInfer": (self.model_infer, messages.ModelInferRequest),
            "ModelConfig": (self.model_config, messages.ModelConfigRequest),
            "ModelStatistics": (self.model_statistics, messages.ModelStatisticsRequest),
            "RepositoryIndex": (self.repository_index, messages.RepositoryIndexRequest),
        }
        rpcs: dict[str, Rpc] = {name: unary(self._metrics, method, type_) for name, (method, type_) in served.items()}
        rpcs["ModelStreamInfer"] = StreamRpc(self._stream)
        for name, what in NOT_SERVED_RPCS.items():
            rpcs[name] = self._not_served(name, NOT_SERVED[what])
        return rpcs

    async def server_live(
        self, _request: messages.ServerLiveRequest, _timeout_s: float | None, _call: Call
    ) -> messages.ServerLiveResponse:
        """Whether the process answers at all."""
        return messages.ServerLiveResponse(live=True)

    async def server_ready(
        self, _request: messages.ServerReadyRequest, _timeout_s: float | None, _call: Call
    ) -> messages.ServerReadyResponse:
        """Whether the first models are loaded and the server isn't stopping."""
        return messages.ServerReadyResponse(ready=self._data_plane.ready())

    async def model_ready(
        self, request: messages.ModelReadyRequest, _timeout_s: float | None, _call: Call
    ) -> messages.ModelReadyResponse:
        """Whether a model answers; one that nobody knows doesn't."""
        return messages.ModelReadyResponse(ready=is_ready(self._data_plane, model_spec(request.name, request.version)))

    async def server_metadata(
        self, _request: messages.ServerMetadataRequest, _timeout_s: float | None, _call: Call
    ) -> messages.ServerMetadataResponse:
        """Name, version and extensions."""
        return messages.ServerMetadataResponse(name=SERVER_NAME, version=server_version(), extensions=EXTENSIONS)

    async def model_metadata(
        self, request: messages.ModelMetadataRequest, _timeout_s: float | None, _call: Call
    ) -> messages.ModelMetadataResponse:
        """The inputs and outputs of a model."""
        model = self._describe(request.name, request.version)
        return messages.ModelMetadataResponse(**asdict(model))

    async def model_config(
        self, request: messages.ModelConfigRequest, _timeout_s: float | None, _call: Call
    ) -> messages.ModelConfigResponse:
        """The same as Triton's configuration; the dimensions hold that of the batch."""
        model = self._describe(request.name, request.version)
        config = messages.ModelConfig(name=model.name, platform=model.platform, backend=model.platform.split("_")[0])
        for tensors, field in ((model.inputs, config.input), (model.outputs, config.output)):
            for tensor in tensors:
                field.add(name=tensor.name, data_type=tensor.config_type, dims=tensor.shape)
        return messages.ModelConfigResponse(config=config)

    async def model_statistics(
        self, request: messages.ModelStatisticsRequest, _timeout_s: float | None, _call: Call
    ) -> messages.ModelStatisticsResponse:
        """What was counted of one model, or of all."""
        spec = model_spec(request.name, request.version)
        if spec.name:
            spec, _, _ = self._data_plane.resolve(spec)
        version = spec.version if request.version else None
        found = statistics(self._data_plane, self._metrics, name=spec.name, version=version)
        return messages.ModelStatisticsResponse(model_stats=[_statistics_message(each) for each in found])

    async def repository_index(
        self, request: messages.RepositoryIndexRequest, _timeout_s: float | None, _call: Call
    ) -> messages.RepositoryIndexResponse:
        """Every version of every model, or those only that answer."""
        entries = index(self._data_plane, ready=request.ready)
        return messages.RepositoryIndexResponse(models=[asdict(entry) for entry in entries])

    async def model_infer(
        self, message: messages.ModelInferRequest, timeout_s: float | None, call: Call
    ) -> messages.ModelInferResponse:
        """An inference, or an explanation: see `serving.inference_protocol.inference`."""
        request = decode_request(message)
        spec = model_spec(
            message.model_name, message.model_version, signature_name=signature_parameter(request.parameters)
        )
        call.asks(self._data_plane, spec.name)
        spec, _ = find_signature(self._data_plane, spec)
        call.answered_by(spec)
        reply = await infer(self._data_plane, spec, request, timeout_s=timeout_s)
        return encode_reply(message.model_name, request, reply)

    async def model_stream_infer(
        self, message: messages.ModelInferRequest, timeout_s: float | None, call: Call
    ) -> messages.ModelStreamInferResponse:
        """One inference of a stream."""
        return messages.ModelStreamInferResponse(infer_response=await self.model_infer(message, timeout_s, call))

    async def _stream(self, requests: AsyncIterator[bytes], context: RpcContext) -> AsyncGenerator[bytes, None]:
        """Answers one request after the other; one that fails doesn't end the stream."""
        respond = responder(self._metrics, self.model_stream_infer, messages.ModelInferRequest)
        async for content in requests:
            try:
                yield await respond(content, context.time_remaining(), context.invocation_metadata)
            except ServingError as error:
                yield _failure(content, error).SerializeToString()

    def _not_served(self, name: str, reason: str) -> UnaryRpc:
        async def answer(_content: bytes, _context: RpcContext) -> bytes:
            observe(self._metrics, Call(name), Code.UNIMPLEMENTED, 0.0)
            raise ServingError(Code.UNIMPLEMENTED, reason)

        return UnaryRpc(answer)

    def _describe(self, name: str, version: str) -> ModelDescription:
        return describe_model(self._data_plane, model_spec(name, version), name=name, engine=self._metrics.engine)


def _failure(content: bytes, error: ServingError) -> messages.ModelStreamInferResponse:
    """An error with the request's id, by which the client tells which one failed."""
    try:
        request_id = messages.ModelInferRequest.FromString(content).id
    except DecodeError:
        request_id = ""
    return messages.ModelStreamInferResponse(error_message=details(error), infer_response={"id": request_id})


def _statistics_message(version: VersionStatistics) -> messages.ModelStatistics:
    return messages.ModelStatistics(
        name=version.name,
        version=version.version,
        last_inference=version.last_inference_ms,
        inference_count=version.inference_count,
        execution_count=version.execution_count,
        inference_stats={name: asdict(duration) for name, duration in version.durations.items()},
    )
