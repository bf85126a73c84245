"""grpc.health.v1 over the readiness of the data plane."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any, Protocol

import grpc
from grpc_health.v1 import health_pb2

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

    def handler(self) -> Any:
        """The handler to register with a `grpc.aio.Server`."""
        request = health_pb2.HealthCheckRequest.FromString
        reply = health_pb2.HealthCheckResponse.SerializeToString
        return grpc.method_handlers_generic_handler(
            SERVICE,
            {
                "Check": grpc.unary_unary_rpc_method_handler(self.check, request, reply),
                "Watch": grpc.unary_stream_rpc_method_handler(self.watch, request, reply),
                "List": grpc.unary_unary_rpc_method_handler(
                    self.list_all,
                    health_pb2.HealthListRequest.FromString,
                    health_pb2.HealthListResponse.SerializeToString,
                ),
            },
        )

    async def check(self, request: health_pb2.HealthCheckRequest, context: Any) -> health_pb2.HealthCheckResponse:
        """The state now; NOT_FOUND for a name that is none of `NAMES`."""
        if request.service not in NAMES:
            await context.abort(
                grpc.StatusCode.NOT_FOUND, f"Expected one of the services {list(NAMES)}. Received: {request.service!r}."
            )
        return health_pb2.HealthCheckResponse(status=self._status())

    async def watch(
        self, request: health_pb2.HealthCheckRequest, _context: Any
    ) -> AsyncIterator[health_pb2.HealthCheckResponse]:
        """The state now and at every change.

        The stream ends when a server that was ready drains, so as not to hold that up.
        """
        known = request.service in NAMES
        last = None
        while True:
            status = self._status() if known else _SERVICE_UNKNOWN
            if status != last:
                yield health_pb2.HealthCheckResponse(status=status)
            if last == _SERVING and status == _NOT_SERVING:
                return
            last = status
            await asyncio.sleep(WATCH_INTERVAL_S)

    async def list_all(self, request: health_pb2.HealthListRequest, context: Any) -> health_pb2.HealthListResponse:  # noqa: ARG002
        """The state of every name."""
        status = health_pb2.HealthCheckResponse(status=self._status())
        return health_pb2.HealthListResponse(statuses=dict.fromkeys(NAMES, status))

    def _status(self) -> int:
        return _SERVING if self._readiness.ready() else _NOT_SERVING
