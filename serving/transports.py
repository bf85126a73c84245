"""gRPC and REST on one event loop, each started, and stopped without dropping what is in flight."""

import asyncio
import contextlib
import functools
import logging
import socket
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from serving.rest.limits import ConnectionLimits
from serving.sockets import port_taken
from serving.sockets import reserve as reserve  # noqa: PLC0414 -- part of this module's interface

if TYPE_CHECKING:
    from serving.grpc.http2.limits import Limits
    from serving.grpc.service import Services
    from serving.security.tls import TlsFile

logger = logging.getLogger(__name__)

_BACKLOG = 2048
_START_INTERVAL_S = 0.002


class RestTransport:
    """REST over uvicorn, on sockets that were reserved.

    Args:
        app: The ASGI application.
        reserved: The bound TCP socket, where there is one; belongs to the transport from now on.
        grace_period_s: Seconds that requests in flight get when it is stopped.
        limits: Bounds of its connections.
        tls: Makes it HTTPS, on TCP only.
        unix_socket: A bound unix socket; belongs to the transport from now on.
    """

    def __init__(
        self,
        app: Any,
        reserved: socket.socket | None,
        *,
        grace_period_s: float,
        limits: ConnectionLimits | None = None,
        tls: "TlsFile | None" = None,
        unix_socket: socket.socket | None = None,
    ) -> None:
        import uvicorn

        self._tcp, self._unix = reserved, unix_socket
        self._limits = limits or ConnectionLimits()
        self._tls = tls
        open_listeners = self._listen

        class Server(uvicorn.Server):
            """uvicorn with our connections, and without its handling of signals: the process has one for all."""

            @contextlib.contextmanager
            def capture_signals(self) -> Iterator[None]:
                yield

            async def startup(self, sockets: list[socket.socket] | None = None) -> None:  # noqa: ARG002 -- as uvicorn's
                self.servers = await open_listeners(self)
                self.started = True

        self._server = Server(
            uvicorn.Config(
                app,
                loop="none",
                http="httptools",
                ws="none",
                lifespan="off",
                access_log=False,
                log_config=None,
                server_header=False,
                proxy_headers=False,
                backlog=_BACKLOG,
                timeout_graceful_shutdown=max(1, round(grace_period_s)),
            )
        )
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Listens.

        Raises:
            StartError: Somebody took the port in between.
        """
        sockets = [each for each in (self._tcp, self._unix) if each is not None]
        _listen("REST", sockets)
        self._task = asyncio.create_task(self._server.serve(sockets=sockets))
        while not self._server.started and not self._task.done():
            await asyncio.sleep(_START_INTERVAL_S)
        if self._task.done():
            await self._task

    async def stop(self) -> None:
        """Takes no more connections and waits for the requests in flight."""
        self._server.should_exit = True
        if self._task is not None:
            await self._task

    async def _listen(self, server: Any) -> list[Any]:
        from serving.rest.protocol import HttpProtocol

        loop = asyncio.get_running_loop()
        connect = functools.partial(
            HttpProtocol, server.config, server.server_state, server.lifespan.state, limits=self._limits
        )
        servers: list[Any] = []
        if self._tcp is not None:
            secured: dict[str, Any] = {}
            if self._tls is not None:
                secured = {"ssl": self._tls.context("http/1.1"), "ssl_handshake_timeout": self._limits.read_timeout_s}
            servers.append(await loop.create_server(connect, sock=self._tcp, backlog=_BACKLOG, **secured))
        if self._unix is not None:
            servers.append(await loop.create_unix_server(connect, sock=self._unix, backlog=_BACKLOG))
        return servers


class GrpcTransport:
    """gRPC over HTTP/2, on sockets that were reserved.

    Args:
        services: What answers.
        reserved: The bound TCP socket, where there is one; belongs to the transport from now on.
        grace_period_s: Seconds that requests in flight get when it is stopped.
        limits: Bounds of the server and of its connections.
        tls: Speaks TLS, on TCP only.
        unix_socket: A bound unix socket; belongs to the transport from now on.
    """

    def __init__(
        self,
        services: "Services",
        reserved: socket.socket | None,
        *,
        grace_period_s: float,
        limits: "Limits",
        tls: "TlsFile | None" = None,
        unix_socket: socket.socket | None = None,
    ) -> None:
        from serving.grpc.http2.server import Http2Server

        self._server = Http2Server(services, limits)
        self._tcp, self._unix = reserved, unix_socket
        self._tls = tls
        self._grace_period_s = grace_period_s

    async def start(self) -> None:
        """Listens.

        Raises:
            StartError: Somebody took the port in between.
        """
        from serving.grpc.http2.server import Listener

        listeners = []
        if self._tcp is not None:
            listeners.append(Listener(self._tcp, None if self._tls is None else self._tls.context("h2")))
        if self._unix is not None:
            listeners.append(Listener(self._unix))
        _listen("gRPC", [each.socket for each in listeners])
        await self._server.start(listeners)

    async def stop(self) -> None:
        """Takes no more requests and waits for those in flight."""
        await self._server.stop(self._grace_period_s)


def _listen(what: str, sockets: Sequence[socket.socket]) -> None:
    for each in sockets:
        try:
            each.listen(_BACKLOG)
        except OSError as error:
            host, port = each.getsockname()[:2]
            raise port_taken(what, host, port, error) from error
