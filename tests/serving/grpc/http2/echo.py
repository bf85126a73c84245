"""Services that say what reached them, for tests of what carries them."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextvars import ContextVar

from serving.errors import Code, ServingError
from serving.grpc.rpc import Rpc, RpcContext, RpcError, StreamRpc, UnaryRpc

CALLER: ContextVar[str | bytes | None] = ContextVar("caller", default=None)
MESSAGE = "100 % ünïcode\n and ~tilde~"


class EchoServices:
    """RPCs under `/test/`.

    Attributes:
        started, cancelled: How many calls of Hold have begun and been cancelled.
        gate: Opens Hold.
    """

    def __init__(self) -> None:
        self.started = self.cancelled = 0
        self.taken = 0
        self.gate = asyncio.Event()
        self._rpcs: dict[str, Rpc] = {
            "/test/Echo": UnaryRpc(self._echo),
            "/test/Grow": UnaryRpc(self._grow),
            "/test/Hold": UnaryRpc(self._hold),
            "/test/Stubborn": UnaryRpc(self._stubborn),
            "/test/Caller": UnaryRpc(self._caller),
            "/test/Fail": UnaryRpc(self._fail),
            "/test/Break": UnaryRpc(self._break),
            "/test/Metadata": UnaryRpc(self._metadata),
            "/test/Chat": StreamRpc(self._chat),
            "/test/Listen": StreamRpc(self._listen),
            "/test/Silent": StreamRpc(self._silent),
        }

    def admit(self, path: str, metadata: Sequence[tuple[str, str | bytes]]) -> Rpc:
        CALLER.set(dict(metadata).get("caller"))
        if ("token", "bad") in metadata:
            raise RpcError(Code.UNAUTHENTICATED, "no token", (("why", "bad"),))
        if path not in self._rpcs:
            raise ServingError(Code.UNIMPLEMENTED, f"Method not found! Received: {path!r}.")
        return self._rpcs[path]

    async def _echo(self, content: bytes, _context: RpcContext) -> bytes:
        return content

    async def _grow(self, content: bytes, _context: RpcContext) -> bytes:
        return bytes(int(content))

    async def _hold(self, content: bytes, context: RpcContext) -> bytes:
        self.started += 1
        try:
            await self.gate.wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        return repr(context.time_remaining()).encode() if content == b"time" else content

    async def _stubborn(self, content: bytes, _context: RpcContext) -> bytes:
        """Has something to finish when it is cancelled."""
        self.started += 1
        try:
            await asyncio.Event().wait()
        finally:
            self.cancelled += 1
            await self.gate.wait()
        return content

    async def _caller(self, _content: bytes, _context: RpcContext) -> bytes:
        return repr(CALLER.get()).encode()

    async def _fail(self, content: bytes, _context: RpcContext) -> bytes:
        raise ServingError(Code(int(content)), MESSAGE)

    async def _break(self, _content: bytes, _context: RpcContext) -> bytes:
        raise ZeroDivisionError("secret detail")

    async def _metadata(self, _content: bytes, context: RpcContext) -> bytes:
        return repr(sorted(context.invocation_metadata())).encode()

    async def _chat(self, requests: AsyncIterator[bytes], _context: RpcContext) -> AsyncGenerator[bytes, None]:
        async for content in requests:
            self.taken += 1
            yield content
            if content == b"fail":
                raise ServingError(Code.ABORTED, "as asked")

    async def _listen(self, requests: AsyncIterator[bytes], _context: RpcContext) -> AsyncGenerator[bytes, None]:
        """Takes a message, and the others when the gate opens."""
        sizes = 0
        async for content in requests:
            self.taken += 1
            sizes += len(content)
            await self.gate.wait()
        yield b"%d" % sizes

    async def _silent(self, requests: AsyncIterator[bytes], _context: RpcContext) -> AsyncGenerator[bytes, None]:
        async for _ in requests:
            pass
        return
        yield b""
