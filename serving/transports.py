"""The two ports: gRPC and REST on one event loop, each started, and stopped without dropping what is in flight."""

import asyncio
import contextlib
import logging
import socket
from collections.abc import Iterator
from typing import Any

from serving.data_plane import DataPlane
from serving.errors import StartError
from serving.metrics import Metrics

logger = logging.getLogger(__name__)

_BACKLOG = 2048
_KEEP_ALIVE_S = 75
_START_INTERVAL_S = 0.002
_UNLIMITED = -1


def reserve(host: str, port: int, what: str) -> socket.socket:
    """Binds a port without listening.

    One that is taken is found out before the models are loaded, and nobody can connect yet.

    Raises:
        StartError: The port is taken, or the address isn't one of this machine.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        reserved = socket.socket(family, kind, protocol)
    except OSError as error:
        raise StartError(f"`host` must be an address of this machine. Received: host={host!r}: {error}.") from error
    try:
        reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        reserved.bind(address)
    except OSError as error:
        reserved.close()
        raise _taken(what, host, port, error) from error
    return reserved


class RestTransport:
    """REST over uvicorn, on a socket that was reserved.

    Args:
        app: The ASGI application.
        reserved: The bound socket; belongs to the transport from now on.
        grace_period_s: Seconds that requests in flight get when it is stopped.
    """

    def __init__(self, app: Any, reserved: socket.socket, *, grace_period_s: float) -> None:
        import uvicorn

        class Server(uvicorn.Server):
            """uvicorn without its own handling of signals: the process has one, for both transports."""

            @contextlib.contextmanager
            def capture_signals(self) -> Iterator[None]:
                yield

        self._socket = reserved
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
                timeout_keep_alive=_KEEP_ALIVE_S,
                timeout_graceful_shutdown=max(1, round(grace_period_s)),
            )
        )
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Listens.

        Raises:
            StartError: Somebody took the port in between.
        """
        host, port = self._socket.getsockname()[:2]
        try:
            self._socket.listen(_BACKLOG)
        except OSError as error:
            raise _taken("REST", host, port, error) from error
        self._task = asyncio.create_task(self._server.serve(sockets=[self._socket]))
        while not self._server.started and not self._task.done():
            await asyncio.sleep(_START_INTERVAL_S)
        if self._task.done():
            await self._task

    async def stop(self) -> None:
        """Takes no more connections and waits for the requests in flight."""
        self._server.should_exit = True
        if self._task is not None:
            await self._task


class GrpcTransport:
    """gRPC over grpc.aio.

    Args:
        data_plane: What answers.
        metrics: Where requests are counted.
        grace_period_s: Seconds that requests in flight get when it is stopped.
    """

    def __init__(self, data_plane: DataPlane, metrics: Metrics, *, grace_period_s: float) -> None:
        import grpc.aio

        from serving.grpc.service import add_services

        self._server = grpc.aio.server(
            options=[
                ("grpc.max_send_message_length", _UNLIMITED),
                ("grpc.max_receive_message_length", _UNLIMITED),
                ("grpc.so_reuseport", 0),  # two servers on one port would each get half of the requests
            ]
        )
        self._grace_period_s = grace_period_s
        add_services(self._server, data_plane, metrics)

    async def start(self, host: str, reserved: socket.socket) -> None:
        """Listens on the reserved port.

        Raises:
            StartError: Somebody took the port in between.
        """
        port = reserved.getsockname()[1]
        reserved.close()
        address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        try:
            self._server.add_insecure_port(address)
        except RuntimeError as error:
            raise _taken("gRPC", host, port, error) from error
        await self._server.start()

    async def stop(self) -> None:
        """Takes no more requests and waits for those in flight."""
        await self._server.stop(self._grace_period_s)


def _taken(what: str, host: str, port: int, error: OSError | RuntimeError) -> StartError:
    reason = (error.strerror if isinstance(error, OSError) else None) or str(error)
    advice = "Stop the process that uses it, or choose another port."
    return StartError(f"The {what} port {port} on {host} can't be opened: {reason}. {advice}")
