"""A server of both transports with real models, for tables whose rows are one request each.

Its event loop runs in a thread of its own, so that one server answers all rows of a table.
"""

import asyncio
import contextlib
import json
import threading
from collections.abc import Coroutine, Iterator
from pathlib import Path
from typing import Any, TypeVar

import grpc
import httpx
from google.protobuf.message import Message

from serving.engines.base import Engine
from serving.grpc.service import Services
from serving.metrics import Metrics
from serving.rest.app import create_app
from tests.serving.grpc.servers import Client, open_http2
from tests.serving.rest.planes import open_data_plane

Result = TypeVar("Result")
TIMEOUT_S = 60


class Server:
    """What the tables ask. Every method blocks.

    Attributes:
        metrics: What the server counts.
        plane: Its data plane.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, client: Client, rest: httpx.AsyncClient) -> None:
        self.metrics, self.plane = client.metrics, client.plane
        self._loop, self._client, self._rest = loop, client, rest

    def call(self, method: str, request: Message) -> Any:
        """The reply of an RPC."""
        return self.run(self._client.call(method, request))

    def failure(self, method: str, request: Message) -> tuple[str, str]:
        """The code and the details of an RPC that fails; OK and the reply's text where it doesn't."""
        try:
            return "OK", str(self.call(method, request))
        except grpc.aio.AioRpcError as error:
            return error.code().name, str(error.details())

    def send(self, method: str, path: str, body: Any = None, headers: Any = None) -> httpx.Response:
        """The reply to a request; a body that isn't bytes is sent as JSON."""
        content = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
        return self.run(self._rest.request(method, path, content=content, headers=headers))

    def post(self, path: str, body: Any) -> tuple[int, Any]:
        """The status and the JSON of a reply."""
        reply = self.send("POST", path, body)
        return reply.status_code, reply.json()

    def run(self, awaitable: Coroutine[Any, Any, Result]) -> Result:
        """Waits for what runs on the server's event loop."""
        return asyncio.run_coroutine_threadsafe(awaitable, self._loop).result(TIMEOUT_S)


@contextlib.contextmanager
def open_both(root: Path, *, engine: Engine | None = None, **options: Any) -> Iterator[Server]:
    """Serves every model below `root`, in ONNX Runtime where no other engine is given."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    servers = _serve(root, engine, options)
    try:
        yield asyncio.run_coroutine_threadsafe(anext(servers), loop).result(TIMEOUT_S)
    finally:
        asyncio.run_coroutine_threadsafe(servers.aclose(), loop).result(TIMEOUT_S)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(TIMEOUT_S)
        loop.close()


async def _serve(root: Path, engine: Engine | None, options: dict[str, Any]) -> Any:
    metrics = Metrics()
    async with open_data_plane(root, metrics, engine=engine, **options) as plane:
        transport = httpx.ASGITransport(app=create_app(plane, metrics))
        async with (
            open_http2(Services(plane, metrics)) as address,
            grpc.aio.insecure_channel(address) as channel,
            httpx.AsyncClient(transport=transport, base_url="http://server") as rest,
        ):
            yield Server(asyncio.get_running_loop(), Client(channel, plane, metrics, address), rest)
