"""What stands before every RPC where tokens or a number of requests are to be minded."""

import time
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

import grpc

from serving.errors import Code, ServingError
from serving.grpc.status import details, status_code
from serving.security.guard import Guard

if TYPE_CHECKING:
    from serving.metrics import Metrics

# Health: probes have no token, and a full server is healthy.
OPEN_METHODS = frozenset(
    {
        "/grpc.health.v1.Health/Check",
        "/grpc.health.v1.Health/List",
        "/grpc.health.v1.Health/Watch",
        "/inference.GRPCInferenceService/ServerLive",
        "/inference.GRPCInferenceService/ServerReady",
    }
)

# What changes what is served.
ADMIN_METHODS = frozenset(
    {
        "/tensorflow.serving.ModelService/HandleReloadConfigRequest",
        "/inference.GRPCInferenceService/RepositoryModelLoad",
        "/inference.GRPCInferenceService/RepositoryModelUnload",
    }
)

# A client that retries waits as long as Retry-After asks for over REST.
_PUSHBACK = (("grpc-retry-pushback-ms", "1000"),)


class GuardInterceptor(grpc.aio.ServerInterceptor):
    """Refuses before the request's message is read. Streams are let in by token, and not counted.

    Args:
        guard: Who is let in.
        metrics: Where what is refused here is counted.
    """

    def __init__(self, guard: Guard, metrics: "Metrics") -> None:
        self._guard = guard
        self._metrics = metrics
        self._counted: dict[str, Any] = {}

    async def intercept_service(self, continuation: Callable[[Any], Awaitable[Any]], call: Any) -> Any:
        """The handler of an RPC, or one that refuses it."""
        handler = await continuation(call)
        method: str = call.method
        if handler is None or method in OPEN_METHODS:
            return handler
        start = time.perf_counter()
        try:
            self._guard.check_caller(_authorization(call.invocation_metadata), admin=method in ADMIN_METHODS)
            self._guard.check_room()
        except ServingError as error:
            return self._refusal(method, error, start)
        if handler.request_streaming or handler.response_streaming:
            return handler
        if method not in self._counted:  # as many as there are handlers, whatever clients ask for
            self._counted[method] = self._count(handler, method)
        return self._counted[method]

    def _count(self, handler: Any, method: str) -> Any:
        async def answer(request: Any, context: Any) -> Any:
            start = time.perf_counter()
            try:
                self._guard.enter()
            except ServingError as error:
                self._observe(method, error.code, time.perf_counter() - start)
                await _abort(context, error)
            try:
                return await handler.unary_unary(request, context)
            finally:
                self._guard.leave()

        return grpc.unary_unary_rpc_method_handler(answer, handler.request_deserializer, handler.response_serializer)

    def _refusal(self, method: str, error: ServingError, start: float) -> Any:
        """A handler that reads nothing; on the wire a stream of none, which clients of every kind understand."""

        async def refuse(_requests: Any, context: Any) -> None:
            self._observe(method, error.code, time.perf_counter() - start)
            await _abort(context, error)

        return grpc.stream_stream_rpc_method_handler(refuse)

    def _observe(self, method: str, code: Code, seconds: float) -> None:
        rpc = method.rpartition("/")[2]
        self._metrics.observe_request("", None, signature="", api=rpc, entrypoint="GRPC", code=code, seconds=seconds)


async def _abort(context: Any, error: ServingError) -> None:
    trailing = _PUSHBACK if error.code == Code.RESOURCE_EXHAUSTED else ()
    await context.abort(status_code(error.code), details(error), trailing_metadata=trailing)


def _authorization(metadata: Any) -> str | bytes | None:
    for name, value in metadata or ():
        if name == "authorization":
            content: str | bytes = value
            return content
    return None
