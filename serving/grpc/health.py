"""grpc.health.v1 over the readiness of the data plane."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing
from typing import Any, Protocol

from google.protobuf.message import DecodeError
from grpc_health.v1 import health_pb2

from serving.errors import invalid_argument, not_found
from serving.grpc.rpc import Rpc, RpcContext, StreamRpc, UnaryRpc

SERVICE = "grpc.health.v1.Health"

# What can be asked about: the whole server, and TensorFlow Serving's names for its two services.
NAMES = ("", "ModelService", "PredictionService")

# The data plane says whether it is ready, not when that changes.
WATCH_INTERVAL_S = 0.1

_SERVING = health_pb2.HealthCheckResponse.SERVING
_NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING
_SERVICE_UNKNOWN = health_pb2.HealthCheckResponse.SERVICE_UNKNOWN


class Readiness(Protocol):
    """What the health service needs of the data plane."""

    def ready(self) -> bool:
        """Whether the initial models are loaded and the server is not draining."""
        ...


class HealthService:
    """Answers SERVING while the data plane is ready, and NOT_SERVING before and after.

    Args:
        readiness: The data plane.
    """

    def __init__(self, readiness: Readiness) -> None:
        self._readiness = readiness

    def rpcs(self) -> dict[str, Rpc]:
        """The RPCs by name."""
        return {
            "Check": _unary(health_pb2.HealthCheckRequest, self.check),
            "List": _unary(health_pb2.HealthListRequest, self.list_all),
            "Watch": StreamRpc(self._watch),
        }

    def check(self, request: health_pb2.HealthCheckRequest) -> health_pb2.HealthCheckResponse:
        """The state now.

        Raises:
            ServingError: The name is none of `NAMES`.
        """
        if request.service not in NAMES:
            raise not_found(f"Expected one of the services {list(NAMES)}. Received: {request.service!r}.")
        return health_pb2.HealthCheckResponse(status=self._status())

    def list_all(self, _request: health_pb2.HealthListRequest) -> health_pb2.HealthListResponse:
        """The state of every name."""
        status = health_pb2.HealthCheckResponse(status=self._status())
        return health_pb2.HealthListResponse(statuses=dict.fromkeys(NAMES, status))

    async def watch(self, name: str) -> AsyncGenerator[health_pb2.HealthCheckResponse, None]:
        """The state now and at every change.

        The stream ends when a server that was ready drains, so as not to hold that up.
        """
        known = name in NAMES
        last = None
        while True:
            status = self._status() if known else _SERVICE_UNKNOWN
            if status != last:
                yield health_pb2.HealthCheckResponse(status=status)
            if last == _SERVING and status == _NOT_SERVING:
                return
            last = status
            await asyncio.sleep(WATCH_INTERVAL_S)

    async def _watch(self, requests: AsyncIterator[bytes], _context: RpcContext) -> AsyncGenerator[bytes, None]:
        async for content in requests:
            request = _parse(health_pb2.HealthCheckRequest, content)
            async with aclosing(self.watch(request.service)) as replies:
                async for reply in replies:
                    yield reply.SerializeToString()
            return

    def _status(self) -> int:
        return _SERVING if self._readiness.ready() else _NOT_SERVING


def _unary(request_type: Any, method: Callable[[Any], Any]) -> UnaryRpc:
    async def answer(content: bytes, _context: RpcContext) -> bytes:
        reply: bytes = method(_parse(request_type, content)).SerializeToString()
        return reply

    return UnaryRpc(answer)


def _parse(request_type: Any, content: bytes) -> Any:
    try:
        return request_type.FromString(content)
    except DecodeError as error:
        raise invalid_argument(f"Expected a {request_type.DESCRIPTOR.full_name}. Received something else.") from error
