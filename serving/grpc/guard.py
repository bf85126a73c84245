"""What stands before every RPC where tokens or a number of requests are to be minded."""

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from serving.errors import Code, ServingError
from serving.grpc.rpc import Rpc, RpcContext, RpcError, UnaryRpc
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


class RpcGuard:
    """Refuses before the request's message is read. Streams are let in by token, and not counted.

    Args:
        guard: Who is let in.
        metrics: Where what is refused here is counted.
    """

    def __init__(self, guard: Guard, metrics: "Metrics") -> None:
        self._guard = guard
        self._metrics = metrics
        self._counted: dict[str, UnaryRpc] = {}

    def admit(self, path: str, metadata: Sequence[tuple[str, str | bytes]], rpc: Rpc) -> Rpc:
        """What answers a call, which is counted in and out.

        Raises:
            ServingError: The client may not call it, or not now.
        """
        if path in OPEN_METHODS:
            return rpc
        start = time.perf_counter()
        try:
            self._guard.check_caller(_authorization(metadata), admin=path in ADMIN_METHODS)
            self._guard.check_room()
        except ServingError as error:
            self._observe(path, error.code, time.perf_counter() - start)
            raise _with_pushback(error) from None
        if not isinstance(rpc, UnaryRpc):
            return rpc
        if path not in self._counted:  # as many as there are RPCs, whatever clients ask for
            self._counted[path] = self._count(rpc, path)
        return self._counted[path]

    def _count(self, rpc: UnaryRpc, path: str) -> UnaryRpc:
        async def answer(content: bytes, context: RpcContext) -> bytes:
            start = time.perf_counter()
            try:
                self._guard.enter()
            except ServingError as error:
                self._observe(path, error.code, time.perf_counter() - start)
                raise _with_pushback(error) from None
            try:
                return await rpc.answer(content, context)
            finally:
                self._guard.leave()

        return UnaryRpc(answer)

    def _observe(self, path: str, code: Code, seconds: float) -> None:
        rpc = path.rpartition("/")[2]
        self._metrics.observe_request("", None, signature="", api=rpc, entrypoint="GRPC", code=code, seconds=seconds)


def _with_pushback(error: ServingError) -> ServingError:
    if error.code != Code.RESOURCE_EXHAUSTED:
        return error
    return RpcError(error.code, error.message, _PUSHBACK)


def _authorization(metadata: Sequence[tuple[str, str | bytes]]) -> str | bytes | None:
    return next((value for name, value in metadata if name == "authorization"), None)
