"""Whole servers on loopback with what stands around their transports, and clients of both."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import grpc
import httpx
import numpy as np
import trustme
import uvloop
from google.protobuf.text_encoding import CEscape

from serving.options import ServerOptions
from serving.server import Server
from tests.serving.bundles import FEATURES, write_bundle
from tests.serving.grpc.servers import predict_request
from tests.serving.test_server import HOST, free_ports

X = np.arange(FEATURES, dtype=np.float32).reshape(1, FEATURES)
URL = "/v1/models/dense:predict"
BODY = {"instances": X.tolist()}
PREDICT = "/tensorflow.serving.PredictionService/Predict"


def make_options(folder: Path, **changes: Any) -> ServerOptions:
    """A server of one small model on free ports."""
    if not (folder / "models").exists():
        write_bundle(folder / "models" / "dense", 1)
    port, rest_api_port = free_ports()
    options = ServerOptions(port, rest_api_port, HOST, model_repository=folder / "models", drain_delay_s=0.0)
    return replace(options, **changes)


def run(test: Callable[[], Awaitable[None]]) -> None:
    """On the event loop that the server uses, which handles TLS in a way of its own."""
    uvloop.run(asyncio.wait_for(test(), 30))


@contextlib.asynccontextmanager
async def running(options: ServerOptions) -> AsyncIterator[Server]:
    """The server in this process, ready."""
    server = Server(options)
    task = asyncio.create_task(server.run())
    while not server.data_plane.ready() and not task.done():
        await asyncio.sleep(0.001)
    if task.done():
        await task
    try:
        yield server
    finally:
        server.stop(hurry=True)
        await task


def rest(options: ServerOptions, *, tls: Any = None, **arguments: Any) -> httpx.AsyncClient:
    """A client of REST."""
    scheme = "http" if tls is None else "https"
    base_url = f"{scheme}://{HOST}:{options.rest_api_port}"
    return httpx.AsyncClient(base_url=base_url, verify=True if tls is None else tls, timeout=10, **arguments)


async def ask_grpc(
    target: ServerOptions | str,
    *,
    credentials: Any = None,
    token: str | None = None,
    method: str = PREDICT,
    timeout: float = 10,
    request: bytes | None = None,
    compression: Any = None,
    **model_spec: Any,
) -> bytes:
    """One RPC over a connection of its own."""
    address = target if isinstance(target, str) else f"{HOST}:{target.port}"
    content = predict_request({"x": X}, name="dense", **model_spec).SerializeToString() if request is None else request
    options = [("grpc.use_local_subchannel_pool", 1), ("grpc.max_send_message_length", -1)]
    channel = (
        grpc.aio.insecure_channel(address, options)
        if credentials is None
        else grpc.aio.secure_channel(address, credentials, options)
    )
    metadata = () if token is None else (("authorization", f"Bearer {token}"),)
    async with channel:
        call = channel.unary_unary(method)
        reply: bytes = await call(content, metadata=metadata, timeout=timeout, compression=compression)
        return reply


async def grpc_error(*arguments: Any, **options: Any) -> grpc.aio.AioRpcError:
    """The error that an RPC ends with."""
    try:
        reply = await ask_grpc(*arguments, **options)
    except grpc.aio.AioRpcError as error:
        return error
    raise AssertionError(f"answered: {reply!r}")


def write_ssl_config(
    path: Path, certificate: trustme.LeafCert, *, clients: trustme.CA | None = None, name: str = "server_key"
) -> Path:
    """An `ssl_config_file` in the form that protobuf writes itself."""
    chain = b"".join(blob.bytes() for blob in certificate.cert_chain_pems)
    text = f'{name}: "{CEscape(certificate.private_key_pem.bytes(), False)}"\nserver_cert: "{CEscape(chain, False)}"\n'
    if clients is not None:
        text += f'custom_ca: "{CEscape(clients.cert_pem.bytes(), False)}"\nclient_verify: true\n'
    path.write_text(text)
    return path
