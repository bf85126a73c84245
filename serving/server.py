"""The server process: models, gRPC and REST on one event loop, from the first look at the disk to the last answer."""

import asyncio
import contextlib
import importlib
import logging
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Collection
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import uvloop

from serving.administration import Administration
from serving.config.models import RequestLogging
from serving.config.without_effect import explain_without_effect
from serving.data_plane import DataPlane
from serving.errors import ServingError, StartError
from serving.log import configure_logging
from serving.manager import ModelManager
from serving.metrics import Metrics
from serving.observation import Observation
from serving.options import OptionsError, ServerOptions, check_options, parse_channel_arguments
from serving.security.edge import Edge
from serving.setup import make_engine, make_execution, make_load_options, make_model_configs, platforms
from serving.sockets import port_text, remove_path, reserve, reserve_path
from serving.transports import GrpcTransport, RestTransport

if TYPE_CHECKING:
    from serving.config.reload import ConfigFile

logger = logging.getLogger(__name__)

_UNLOAD_S = 1.0
"""What models get to be let go, where requests took all of the grace period."""
_REST_SOCKET, _GRPC_SOCKET = "REST socket", "gRPC socket"


class Server:
    """A server with its models. `run` belongs to an event loop; `stop` may be called from it at any time.

    Args:
        options: What to serve and how.

    Raises:
        OptionsError: The options can't work.
    """

    def __init__(self, options: ServerOptions) -> None:
        check_options(options)
        self.options = options
        self.metrics = Metrics(options.engine)
        models = make_model_configs(options)
        self._observation = Observation(options, self.metrics, self._logging_of)
        self._execution = replace(make_execution(options), observe_batch=self._observation.observe_batch)
        self.manager = ModelManager(
            make_engine(options),
            execution=self._execution,
            metrics=self.metrics,
            models=models,
            repository=options.model_repository,
            num_versions=options.num_versions,
            loading=make_load_options(options),
            labels_for_unavailable=options.allow_version_labels_for_unavailable_models,
        )
        self._config_file = self._open_config_file()
        self.data_plane = DataPlane(
            self.manager,
            administration=Administration(
                self.manager,
                platforms=platforms(options),
                config_file=self._config_file,
                enabled=options.enable_admin_api,
            ),
            checks_method_names=options.enable_signature_method_name_check,
            recorder=self._observation.recorder,
        )
        self.drained = False
        self._stopping = asyncio.Event()
        self._hurried = False
        self._rest: RestTransport | None = None
        self._grpc: GrpcTransport | None = None

    async def run(self) -> None:
        """Loads the models, opens the ports, answers until `stop`, and drains.

        Raises:
            StartError: A port is taken, or there is nothing to serve.
        """
        edge = Edge(self.options, self.metrics, metrics_path=self._observation.metrics_path)
        ports = self._reserve_ports()
        watching = [asyncio.create_task(edge.watch())]
        try:
            if await self._load():
                self._check_served()
                if self._config_file is not None and self.options.model_config_file_poll_wait_seconds > 0:
                    wait_s = self.options.model_config_file_poll_wait_seconds
                    watching.append(asyncio.create_task(self._config_file.watch(wait_s)))
                self._make_transports(ports, edge)
                edge.announce()
                await self._open()
                await self._answer()
        except StartError:
            await self._close()
            await self.manager.stop()
            raise
        finally:
            for task in watching:
                task.cancel()
            for reserved in ports.values():
                reserved.close()
            if _REST_SOCKET in ports:
                remove_path(self.options.rest_api_socket_path)
            if _GRPC_SOCKET in ports:
                remove_path(self.options.grpc_socket_path)
            await asyncio.to_thread(self._observation.close)

    async def _load(self) -> bool:
        """Loads the models and imports what the transports need, which takes longer: both at once.

        Returns:
            Whether to go on: a stop that is asked for meanwhile doesn't wait for a model of minutes.
        """
        models = self.manager.start(poll_wait_s=self.options.file_system_poll_wait_seconds)
        loading = asyncio.gather(models, asyncio.to_thread(_import_transports, self._transports()))
        stopping = asyncio.create_task(self._stopping.wait())
        both: set[asyncio.Future[Any]] = {loading, stopping}
        await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
        stopping.cancel()
        if loading.done():
            try:
                await loading
            except ServingError as error:
                raise StartError(error.message) from error
            return True
        loading.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await loading
        logger.info("Stopped while the models were loading")
        return False

    async def _answer(self) -> None:
        self.data_plane.set_ready(ready=True)
        logger.info("Ready: %s", ", ".join(self._addresses()))
        await self._stopping.wait()
        await self._drain()

    def stop(self, *, hurry: bool = False) -> None:
        """Asks the server to drain and end.

        Args:
            hurry: Without the delay that lets load balancers notice; a person waits.
        """
        self._hurried = self._hurried or hurry
        self._stopping.set()

    def _logging_of(self, name: str) -> RequestLogging | None:
        config = self.manager.config(name)
        return None if config is None else config.logging

    def _open_config_file(self) -> "ConfigFile | None":
        if self.options.model_config_file is None:
            return None
        from serving.config.reload import ConfigFile

        return ConfigFile(self.options.model_config_file, self.manager, platforms=platforms(self.options))

    def _ports(self) -> dict[str, int]:
        ports = {"gRPC": self.options.port, "REST": self.options.rest_api_port}
        return {name: port for name, port in ports.items() if port}

    def _transports(self) -> list[str]:
        sockets = {"gRPC": self.options.grpc_socket_path, "REST": self.options.rest_api_socket_path}
        return [name for name, path in sockets.items() if path or name in self._ports()]

    def _addresses(self) -> list[str]:
        ports = [f"{name} on {port_text(self.options.host, port)}" for name, port in self._ports().items()]
        paths = {"gRPC": self.options.grpc_socket_path, "REST": self.options.rest_api_socket_path}
        return ports + [f"{name} on unix:{path}" for name, path in paths.items() if path]

    def _reserve_ports(self) -> dict[str, socket.socket]:
        reserved: dict[str, socket.socket] = {}
        try:
            for name, port in self._ports().items():
                reserved[name] = reserve(self.options.host, port, name)
            if self.options.rest_api_socket_path:
                reserved[_REST_SOCKET] = reserve_path(self.options.rest_api_socket_path, "rest_api_socket_path")
            if self.options.grpc_socket_path:
                reserved[_GRPC_SOCKET] = reserve_path(self.options.grpc_socket_path, "grpc_socket_path")
        except StartError:
            for each in reserved.values():
                each.close()
            raise
        return reserved

    def _make_transports(self, ports: dict[str, socket.socket], edge: Edge) -> None:
        options = self.options
        if "REST" in self._transports():
            from serving.rest.app import create_app
            from serving.rest.limits import ConnectionLimits, Limits

            limits = Limits(
                max_body_bytes=options.max_request_bytes,
                max_inflated_bytes=options.max_inflated_bytes,
                max_json_depth=options.max_json_depth,
                timeout_s=options.rest_api_timeout_in_ms / 1000,
            )
            app = create_app(
                self.data_plane,
                self.metrics,
                limits=limits,
                open_paths=edge.open_paths(),
                metrics_path=self._observation.metrics_path,
            )
            self._rest = RestTransport(
                edge.protect(app),
                ports.get("REST"),
                grace_period_s=options.grace_period_s,
                limits=ConnectionLimits(
                    max_connections=options.max_connections,
                    read_timeout_s=options.rest_api_read_timeout_in_ms / 1000,
                    idle_timeout_s=options.rest_api_idle_timeout_in_ms / 1000,
                ),
                tls=edge.rest_tls,
                unix_socket=ports.get(_REST_SOCKET),
            )
        if "gRPC" in self._transports():
            from serving.grpc.channel_arguments import apply_arguments
            from serving.grpc.http2.limits import Limits as GrpcLimits
            from serving.grpc.service import Services

            services = Services(
                self.data_plane,
                self.metrics,
                tensor_content=options.enable_serialization_as_tensor_content,
                health=options.enable_grpc_healthcheck_service,
                guard=edge.rpc_guard(),
            )
            defaults = GrpcLimits(
                max_receive_bytes=options.max_request_bytes,
                max_connections=options.max_connections,
                stall_timeout_s=options.rest_api_read_timeout_in_ms / 1000,
            )
            self._grpc = GrpcTransport(
                services,
                ports.get("gRPC"),
                grace_period_s=options.grace_period_s,
                limits=apply_arguments(parse_channel_arguments(options.grpc_channel_arguments), defaults),
                tls=edge.tls,
                unix_socket=ports.get(_GRPC_SOCKET),
            )

    async def _open(self) -> None:
        if self._rest is not None:
            await self._rest.start()
        if self._grpc is not None:
            await self._grpc.start()

    async def _close(self) -> None:
        await asyncio.gather(*[transport.stop() for transport in (self._rest, self._grpc) if transport is not None])

    def _check_served(self) -> None:
        """Refuses to start without a model. Of a repository one is enough: the others are reported, and tried again."""
        unserved = self.manager.unserved()
        if self.options.model_repository is not None and self.manager.served():
            for name, reason in unserved.items():
                logger.error("Model %s is not served: %s", name, reason)
        elif unserved and self.manager.served():
            try:
                self.manager.check_available()
            except ServingError as error:
                raise StartError(error.message) from error
        elif unserved:
            reasons = "; ".join(f"model {name!r}: {reason}" for name, reason in sorted(unserved.items()))
            raise StartError(f"No model can be served. {reasons}")
        elif self.options.model_config_file is not None and not self.manager.served():
            logger.warning("%s lists no model: none is served until it does", self.options.model_config_file)
        elif not self.manager.served():
            raise StartError(f"No model can be served: {self.options.model_repository} holds no model.")

    async def _drain(self) -> None:
        """Fails readiness, lets go of the ports, answers what is in flight, unloads the models."""
        self.data_plane.set_ready(ready=False)
        logger.info("Draining: not ready any more")
        if not self._hurried:
            await asyncio.sleep(self.options.drain_delay_s)
        self.data_plane.administration.stop()
        end = time.monotonic() + self.options.grace_period_s
        await self._close()
        try:
            await asyncio.wait_for(self.manager.stop(), timeout=max(_UNLOAD_S, end - time.monotonic()))
            self.drained = True
            logger.info("Drained: every request was answered")
        except TimeoutError:
            logger.warning(
                "Requests were still running %g s after the stop and are cut off", self.options.grace_period_s
            )
        self._execution.predict_threads.shutdown(wait=False)
        self._execution.explain_threads.shutdown(wait=False)


def serve(options: ServerOptions, *, given: Collection[str] = ()) -> int:
    """Runs a server until SIGTERM or SIGINT.

    Args:
        options: What to serve and how.
        given: The flags that were given; those without effect here are answered with a line in the log each.

    Returns:
        The exit status: 0 after a stop that was asked for, 1 when the server could not start.
    """
    configure_logging(log_format=options.log_format)
    try:
        for note in explain_without_effect(options, given):
            logger.warning("%s", note)
        drained = uvloop.run(_run(options))
    except (OptionsError, StartError) as error:
        print(f"whyserve: {error}", file=sys.stderr)  # noqa: T201 -- for the person at the terminal, not for the log
        return 1
    if not drained or _is_at_work():
        # A run that outlived its grace period, or a load, would be waited for when the interpreter ends.
        logging.shutdown()
        os._exit(0)
    return 0


def _is_at_work() -> bool:
    """Whether a thread is busy that the interpreter would wait for, as one that loads a version."""
    return any(not thread.daemon for thread in threading.enumerate() if thread is not threading.main_thread())


async def _run(options: ServerOptions) -> bool:
    server = Server(options)
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, server.stop)
    loop.add_signal_handler(signal.SIGINT, lambda: server.stop(hurry=True))
    await server.run()
    return server.drained


def _import_transports(names: list[str]) -> None:
    if "REST" in names:
        importlib.import_module("uvicorn")
        importlib.import_module("serving.rest.app")
    if "gRPC" in names:
        importlib.import_module("serving.grpc.service")
        importlib.import_module("serving.grpc.http2.server")
