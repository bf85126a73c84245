"""A real gRPC server over a real data plane, and a small client made from our own messages."""

import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import numpy as np
from google.protobuf.message import Message

from serving.data_plane import DataPlane
from serving.grpc.http2.limits import Limits
from serving.grpc.http2.server import Http2Server, Listener
from serving.grpc.service import MODEL_SERVICE, PREDICTION_SERVICE, Services
from serving.grpc.tensors import decode_tensor, encode_tensor
from serving.metrics import Metrics
from serving.protos import (
    classification_pb2,
    get_model_metadata_pb2,
    get_model_status_pb2,
    inference_pb2,
    predict_pb2,
    regression_pb2,
)
from serving.sockets import reserve
from tests.serving.rest.planes import open_data_plane

METHODS = {
    "Classify": (PREDICTION_SERVICE, classification_pb2.ClassificationResponse),
    "Regress": (PREDICTION_SERVICE, regression_pb2.RegressionResponse),
    "MultiInference": (PREDICTION_SERVICE, inference_pb2.MultiInferenceResponse),
    "Predict": (PREDICTION_SERVICE, predict_pb2.PredictResponse),
    "GetModelMetadata": (PREDICTION_SERVICE, get_model_metadata_pb2.GetModelMetadataResponse),
    "GetModelStatus": (MODEL_SERVICE, get_model_status_pb2.GetModelStatusResponse),
}


class Client:
    """Calls the server behind a channel."""

    def __init__(self, channel: grpc.aio.Channel, plane: DataPlane, metrics: Metrics, address: str) -> None:
        self.channel, self.plane, self.metrics, self.address = channel, plane, metrics, address

    async def call(
        self, method: str, request: Message | bytes, *, service: str = "", timeout: float | None = 20
    ) -> Any:
        """Sends a message, or bytes, and parses the answer."""
        known, reply_type = METHODS.get(method, (service, None))
        rpc = self.channel.unary_unary(f"/{service or known}/{method}")
        content = request if isinstance(request, bytes) else request.SerializeToString()
        reply = await rpc(content, timeout=timeout)
        return reply if reply_type is None else reply_type.FromString(reply)

    async def predict(self, inputs: dict[str, np.ndarray], **model_spec: object) -> dict[str, np.ndarray]:
        """The outputs of a signature."""
        reply = await self.call("Predict", predict_request(inputs, **model_spec))
        return {name: decode_tensor(proto, name) for name, proto in reply.outputs.items()}


def predict_request(inputs: dict[str, np.ndarray], **model_spec: object) -> predict_pb2.PredictRequest:
    """A PredictRequest with typed fields."""
    request = predict_pb2.PredictRequest(model_spec=model_spec or None)
    for name, array in inputs.items():
        encode_tensor(np.asarray(array), request.inputs[name])
    return request


@contextlib.asynccontextmanager
async def open_server(root: Path, *, tensor_content: bool = False) -> AsyncIterator[Client]:
    """Serves every model below `root` on a free port."""
    metrics = Metrics()
    async with open_data_plane(root, metrics) as plane:
        services = Services(plane, metrics, tensor_content=tensor_content)
        async with open_http2(services) as address, grpc.aio.insecure_channel(address) as channel:
            yield Client(channel, plane, metrics, address)


@contextlib.asynccontextmanager
async def open_http2(services: Any, limits: Limits | None = None) -> AsyncIterator[str]:
    """The address of a server of these services."""
    server = Http2Server(services, limits)
    reserved = reserve("127.0.0.1", 0, "gRPC")
    await server.start([Listener(reserved)])
    try:
        yield f"127.0.0.1:{reserved.getsockname()[1]}"
    finally:
        await server.stop(0)
