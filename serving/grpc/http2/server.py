"""The server: connections from several sockets, looked after while they are open, and drained in the end."""

import asyncio
import socket
import ssl
from collections.abc import Sequence
from dataclasses import dataclass

from serving.grpc.http2.connection import Connection
from serving.grpc.http2.limits import Limits, ReceiveBudget
from serving.grpc.http2.session import Services

_BACKLOG = 2048
_CHECK_INTERVAL_S = 0.5
# Messages of the largest size that may be arriving at once.
_LARGEST_MESSAGES = 4
_LAST_WORDS_S = 1.0


@dataclass(frozen=True)
class Listener:
    """A bound socket.

    Args:
        socket: It belongs to the server from its start on.
        tls: Makes it speak TLS.
    """

    socket: socket.socket
    tls: ssl.SSLContext | None = None


class Http2Server:
    """A gRPC server. All methods belong to the event loop's thread.

    Args:
        services: What answers.
        limits: Bounds of the server and of each connection.
    """

    def __init__(self, services: Services, limits: Limits | None = None) -> None:
        self.services = services
        self.limits = limits or Limits()
        self.budget = make_budget(self.limits)
        self._connections: set[Connection] = set()
        self._listening: list[asyncio.Server] = []
        self._checking: asyncio.Task[None] | None = None
        self._empty = asyncio.Event()

    async def start(self, listeners: Sequence[Listener]) -> None:
        """Takes connections."""
        loop = asyncio.get_running_loop()
        for each in listeners:
            timeout_s = None if each.tls is None else self.limits.stall_timeout_s
            create = loop.create_unix_server if each.socket.family == socket.AF_UNIX else loop.create_server
            self._listening.append(
                await create(
                    self._connect, sock=each.socket, backlog=_BACKLOG, ssl=each.tls, ssl_handshake_timeout=timeout_s
                )
            )
        self._checking = asyncio.create_task(self._check())

    async def stop(self, grace_s: float) -> None:
        """Takes no more calls, and waits for those that are open.

        Args:
            grace_s: How long they may take; then they end with UNAVAILABLE.
        """
        for each in self._listening:
            each.close()
        for connection in list(self._connections):
            connection.drain("The server is stopping.")
        await self._until_empty(grace_s)
        for connection in list(self._connections):
            connection.end()
        await self._until_empty(_LAST_WORDS_S)
        for connection in list(self._connections):
            connection.abort()
        if self._checking is not None:
            self._checking.cancel()

    def enter(self, connection: Connection) -> bool:
        """Counts a connection in; False where it is one too many."""
        if self.limits.max_connections and len(self._connections) >= self.limits.max_connections:
            return False
        self._connections.add(connection)
        return True

    def leave(self, connection: Connection) -> None:
        """Counts a connection out."""
        self._connections.discard(connection)
        if not self._connections:
            self._empty.set()

    def _connect(self) -> Connection:
        return Connection(self)

    async def _until_empty(self, timeout_s: float) -> None:
        self._empty.clear()
        if self._connections:
            try:
                await asyncio.wait_for(self._empty.wait(), timeout_s)
            except TimeoutError:
                return

    async def _check(self) -> None:
        while True:
            await asyncio.sleep(_CHECK_INTERVAL_S)
            now = asyncio.get_running_loop().time()
            for connection in list(self._connections):
                connection.check(now)


def make_budget(limits: Limits) -> ReceiveBudget:
    """Memory for some messages of the largest size, and for what a connection may send without being asked."""
    if limits.max_receive_bytes is None:
        return ReceiveBudget(None)
    return ReceiveBudget(_LARGEST_MESSAGES * limits.max_receive_bytes + limits.connection_window_bytes)
