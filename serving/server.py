"""The server process: models, gRPC and REST on one event loop, from the first look at the disk to the last answer."""

import asyncio
import contextlib
import importlib
import logging
import os
import signal
import socket
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import uvloop

from serving.batching import BatchLimits
from serving.data_plane import DataPlane
from serving.engines.base import Engine
from serving.engines.cpu import count_cpus
from serving.engines.registry import create_engine
from serving.errors import StartError
from serving.log import configure_logging
from serving.manager import ModelConfig, ModelManager
from serving.metrics import Metrics
from serving.options import OptionsError, ServerOptions, check_options
from serving.repository import find_versions, list_models
from serving.servable import ExecutionOptions
from serving.transports import GrpcTransport, RestTransport, reserve

logger = logging.getLogger(__name__)

_NONE = "which isn't a folder"


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
        self._execution = _execution(options)
        self.manager = ModelManager(
            _create_engine(options),
            execution=self._execution,
            metrics=self.metrics,
            models=_model_configs(options),
            repository=options.model_repository,
            num_versions=options.num_versions,
        )
        self.data_plane = DataPlane(self.manager)
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
        ports = self._reserve_ports()
        try:
            if await self._load(ports):
                self._check_served()
                self._make_transports(ports)
                await self._open(ports)
                await self._answer()
        except StartError:
            await self._close()
            await self.manager.stop()
            raise
        finally:
            for reserved in ports.values():
                reserved.close()

    async def _load(self, ports: dict[str, socket.socket]) -> bool:
        """Loads the models and imports what the transports need, which takes longer: both at once.

        Returns:
            Whether to go on: a stop that is asked for meanwhile doesn't wait for a model of minutes.
        """
        models = self.manager.start(poll_wait_s=self.options.file_system_poll_wait_seconds)
        loading = asyncio.gather(models, asyncio.to_thread(_import_transports, list(ports)))
        stopping = asyncio.create_task(self._stopping.wait())
        both: set[asyncio.Future[Any]] = {loading, stopping}
        await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
        stopping.cancel()
        if loading.done():
            await loading
            return True
        loading.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await loading
        logger.info("Stopped while the models were loading")
        return False

    async def _answer(self) -> None:
        self.data_plane.set_ready(ready=True)
        addresses = [f"{name} on {self.options.host}:{port}" for name, port in self._ports().items()]
        logger.info("Ready: %s", ", ".join(addresses))
        await self._stopping.wait()
        await self._drain()

    def stop(self, *, hurry: bool = False) -> None:
        """Asks the server to drain and end.

        Args:
            hurry: Without the delay that lets load balancers notice; a person waits.
        """
        self._hurried = self._hurried or hurry
        self._stopping.set()

    def _ports(self) -> dict[str, int]:
        ports = {"gRPC": self.options.port, "REST": self.options.rest_api_port}
        return {name: port for name, port in ports.items() if port}

    def _reserve_ports(self) -> dict[str, socket.socket]:
        reserved: dict[str, socket.socket] = {}
        try:
            for name, port in self._ports().items():
                reserved[name] = reserve(self.options.host, port, name)
        except StartError:
            for each in reserved.values():
                each.close()
            raise
        return reserved

    def _make_transports(self, ports: dict[str, socket.socket]) -> None:
        options = self.options
        if "REST" in ports:
            from serving.rest.app import create_app
            from serving.rest.limits import Limits

            limits = Limits(max_body_bytes=options.max_request_bytes, timeout_s=options.rest_api_timeout_in_ms / 1000)
            app = create_app(self.data_plane, self.metrics, limits=limits)
            self._rest = RestTransport(app, ports["REST"], grace_period_s=options.grace_period_s)
        if "gRPC" in ports:
            self._grpc = GrpcTransport(self.data_plane, self.metrics, grace_period_s=options.grace_period_s)

    async def _open(self, ports: dict[str, socket.socket]) -> None:
        if self._rest is not None:
            await self._rest.start()
        if self._grpc is not None:
            await self._grpc.start(self.options.host, ports["gRPC"])

    async def _close(self) -> None:
        await asyncio.gather(*[transport.stop() for transport in (self._rest, self._grpc) if transport is not None])

    def _check_served(self) -> None:
        """Refuses to start without a model. Of a repository one is enough: the others are reported, and tried again."""
        unserved = self.manager.unserved()
        if self.options.model_repository is not None and self.manager.served():
            for name, reason in unserved.items():
                logger.error("Model %s is not served: %s", name, reason)
        elif unserved:
            reasons = "; ".join(f"model {name!r}: {reason}" for name, reason in sorted(unserved.items()))
            raise StartError(f"No model can be served. {reasons}")
        elif not self.manager.served():
            raise StartError(f"No model can be served: {self.options.model_repository} holds no model.")

    async def _drain(self) -> None:
        """Fails readiness, lets go of the ports, answers what is in flight, unloads the models."""
        self.data_plane.set_ready(ready=False)
        logger.info("Draining: not ready any more")
        if not self._hurried:
            await asyncio.sleep(self.options.drain_delay_s)
        await self._close()
        try:
            await asyncio.wait_for(self.manager.stop(), timeout=self.options.grace_period_s)
            self.drained = True
            logger.info("Drained: every request was answered")
        except TimeoutError:
            logger.warning(
                "Requests were still running %g s after the stop and are cut off", self.options.grace_period_s
            )
        self._execution.predict_threads.shutdown(wait=False)
        self._execution.explain_threads.shutdown(wait=False)


def serve(options: ServerOptions) -> int:
    """Runs a server until SIGTERM or SIGINT.

    Returns:
        The exit status: 0 after a stop that was asked for, 1 when the server could not start.
    """
    configure_logging()
    try:
        drained = uvloop.run(_run(options))
    except (OptionsError, StartError) as error:
        print(f"whyserve: {error}", file=sys.stderr)  # noqa: T201 -- for the person at the terminal, not for the log
        return 1
    if not drained:
        # A run that outlived its grace period would be waited for when the interpreter ends.
        logging.shutdown()
        os._exit(0)
    return 0


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
        importlib.import_module("grpc.aio")
        importlib.import_module("serving.grpc.service")


def _create_engine(options: ServerOptions) -> Engine:
    try:
        return create_engine(options.engine, device=options.device, num_threads=options.num_threads or None)
    except ImportError as error:
        raise StartError(
            f"Engine {options.engine!r} needs a package that isn't installed: {error}. Install it, or choose another."
        ) from error


def _execution(options: ServerOptions) -> ExecutionOptions:
    cpus = count_cpus()
    return ExecutionOptions(
        predict_threads=ThreadPoolExecutor(options.grpc_max_threads or cpus, thread_name_prefix="predict"),
        explain_threads=ThreadPoolExecutor(options.explain_threads or max(1, cpus // 2), thread_name_prefix="explain"),
        predict=BatchLimits(options.max_batch_size, options.max_wait_ms / 1000, options.max_queued_requests),
        explain=BatchLimits(
            options.max_explain_batch_size, options.max_wait_ms / 1000, options.max_queued_explanations
        ),
        batching=options.enable_batching,
        refuse_non_finite=options.refuse_non_finite,
    )


def _model_configs(options: ServerOptions) -> list[ModelConfig]:
    """The single model, or none where a repository is served; refuses paths that are one kind in place of the other."""
    repository, base_path = options.model_repository, options.model_base_path
    if repository is not None:
        _check_repository(repository)
        return []
    if base_path is None:
        return []
    if not base_path.is_dir():
        raise StartError(
            f"`model_base_path` must be a folder with version folders in it. Received: {base_path}, which is none."
        )
    if not find_versions(base_path) and (models := list_models(base_path)):
        raise StartError(
            f"`model_base_path` must hold version folders (as 1). Received: {base_path}, which holds the models "
            f"{sorted(models)}. Use --model_repository={base_path}, or --model_base_path={next(iter(models.values()))}."
        )
    return [ModelConfig(options.model_name, base_path, options.num_versions)]


def _check_repository(repository: Path) -> None:
    models = list_models(repository)
    if models is None:
        raise StartError(
            f"`model_repository` must be a folder with model folders in it. Received: {repository}, which is none."
        )
    if not models and find_versions(repository):
        raise StartError(
            f"`model_repository` must hold model folders with version folders in them. Received: {repository}, which "
            f"holds versions itself. Use --model_base_path={repository}."
        )
