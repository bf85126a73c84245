"""gRPC and REST on one event loop, each started, and stopped without dropping what is in flight."""

import asyncio
import contextlib
import functools
import logging
import socket
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from serving.data_plane import DataPlane
from serving.metrics import Metrics
from serving.rest.limits import ConnectionLimits
from serving.sockets import clear_path, path_taken, port_taken, port_text, remove_path, restrict
from serving.sockets import reserve as reserve  # noqa: PLC0414 -- part of this module's interface

if TYPE_CHECKING:
    from serving.security.tls import TlsFile

logger = logging.getLogger(__name__)

_BACKLOG = 2048
_START_INTERVAL_S = 0.002
_UNLIMITED = -1
_MAX_INT32 = 2**31 - 1


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
        for each in sockets:
            try:
                each.listen(_BACKLOG)
            except OSError as error:
                host, port = each.getsockname()[:2]
                raise port_taken("REST", host, port, error) from error
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
                secured = {"ssl": self._tls.context(), "ssl_handshake_timeout": self._limits.read_timeout_s}
            servers.append(await loop.create_server(connect, sock=self._tcp, backlog=_BACKLOG, **secured))
        if self._unix is not None:
            servers.append(await loop.create_unix_server(connect, sock=self._unix, backlog=_BACKLOG))
        return servers


class GrpcTransport:
    """gRPC over grpc.aio.

    Args:
        data_plane: What answers.
        metrics: Where requests are counted.
        grace_period_s: Seconds that requests in flight get when it is stopped.
        max_request_bytes: Size of a message, as sent and decompressed; None: no limit.
        max_connections: Open at once; 0: no limit.
        channel_arguments: Further arguments of gRPC's core, which count where they repeat one of ours.
        interceptors: What stands before every RPC.
        tls: Speaks TLS, on TCP only.
        socket_path: A unix socket that answers too; empty: none.
        tensor_content: Whether Predict answers in `tensor_content`.
        health: Whether grpc.health.v1 is served.
    """

    def __init__(
        self,
        data_plane: DataPlane,
        metrics: Metrics,
        *,
        grace_period_s: float,
        max_request_bytes: int | None = None,
        max_connections: int = 0,
        channel_arguments: Sequence[tuple[str, int | str]] = (),
        interceptors: Sequence[Any] = (),
        tls: "TlsFile | None" = None,
        socket_path: str = "",
        tensor_content: bool = False,
        health: bool = True,
    ) -> None:
        import grpc.aio

        from serving.grpc.service import add_services

        arguments: dict[str, int | str] = {
            "grpc.max_send_message_length": _UNLIMITED,
            "grpc.max_receive_message_length": _UNLIMITED
            if max_request_bytes is None
            else min(max_request_bytes, _MAX_INT32),
            "grpc.so_reuseport": 0,  # two servers on one port would each get half of the requests
        }
        if max_connections:
            arguments["grpc.max_allowed_incoming_connections"] = max_connections
        arguments.update(channel_arguments)
        self._server = grpc.aio.server(options=list(arguments.items()), interceptors=list(interceptors))
        self._grace_period_s = grace_period_s
        self._tls = tls
        self._socket_path = socket_path
        add_services(self._server, data_plane, metrics, tensor_content=tensor_content, health=health)

    async def start(self, host: str, reserved: socket.socket | None) -> None:
        """Listens on the reserved port and on the unix socket.

        Raises:
            StartError: Somebody took the port in between, or the socket can't be made.
        """
        if reserved is not None:
            port = reserved.getsockname()[1]
            reserved.close()
            try:
                self._add_port(port_text(host, port))
            except RuntimeError as error:
                raise port_taken("gRPC", host, port, error) from error
        if self._socket_path:
            clear_path(self._socket_path, "grpc_socket_path")
            try:
                self._server.add_insecure_port(f"unix:{self._socket_path}")
                restrict(self._socket_path)
            except (RuntimeError, OSError) as error:
                raise path_taken("grpc_socket_path", self._socket_path, str(error)) from error
        await self._server.start()

    async def stop(self) -> None:
        """Takes no more requests and waits for those in flight."""
        await self._server.stop(self._grace_period_s)
        if self._socket_path:
            remove_path(self._socket_path)

    def _add_port(self, address: str) -> None:
        if self._tls is None:
            self._server.add_insecure_port(address)
        else:
            self._server.add_secure_port(address, self._tls.grpc_credentials())
