"""What stands before the REST application where tokens, a number of requests or web pages are to be minded."""

import re
import time
from collections.abc import Collection
from typing import TYPE_CHECKING
from urllib.parse import unquote

from serving.errors import Code, ServingError
from serving.rest.asgi import App, Message, Receive, Scope, Send
from serving.rest.replies import Headers, error_reply, send_reply
from serving.rest.routes import HEALTH
from serving.security.guard import Guard

if TYPE_CHECKING:
    from serving.metrics import Metrics

# What changes what is served.
_ADMIN = re.compile(r"/v1/admin(?:/.*)?|/v2/repository/.*/(?:load|unload)/?", re.DOTALL)

_CORS: Headers = (
    (b"access-control-allow-origin", b"*"),
    (b"access-control-allow-methods", b"POST, GET"),
)


class GuardedApp:
    """An application behind a guard. Whatever it comes to serve needs a token, unless it is named here.

    Args:
        app: The application.
        guard: Who is let in.
        metrics: Where what is refused here is counted.
        open_paths: Paths that need no token; health never does.
        uncounted_paths: Paths that a full server answers too, beside health: metrics, which show how full it is.
    """

    def __init__(
        self,
        app: App,
        guard: Guard,
        metrics: "Metrics",
        *,
        open_paths: Collection[str] = (),
        uncounted_paths: Collection[str] = (),
    ) -> None:
        self._app = app
        self._guard = guard
        self._metrics = metrics
        self._open_paths = frozenset(open_paths)
        self._uncounted_paths = frozenset(uncounted_paths)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers one request, or has it answered."""
        if scope["type"] != "http" or scope["method"] == "OPTIONS":
            await self._app(scope, receive, send)
            return
        path = (scope.get("raw_path") or scope["path"].encode()).decode("latin-1")
        if path in HEALTH:
            await self._app(scope, receive, send)
            return
        start = time.perf_counter()
        counted = path not in self._uncounted_paths
        try:
            if path not in self._open_paths:
                self._guard.check_caller(_authorization(scope), admin=is_admin_path(path))
            if counted:
                self._guard.enter()
        except ServingError as error:
            self._observe(error.code, time.perf_counter() - start)
            await send_reply(send, error_reply(error))
            return
        try:
            await self._app(scope, receive, send)
        finally:
            if counted:
                self._guard.leave()

    def _observe(self, code: Code, seconds: float) -> None:
        self._metrics.observe_request("", None, signature="", api="", entrypoint="REST", code=code, seconds=seconds)


class CorsApp:
    """An application whose answers scripts of any web page may read, as with TensorFlow Serving's flag.

    Args:
        app: The application.
        tokens: Whether scripts must be able to send a token.
    """

    def __init__(self, app: App, *, tokens: bool) -> None:
        self._app = app
        allowed = b"Content-Type, Authorization" if tokens else b"Content-Type"
        self._headers: Headers = (*_CORS, (b"access-control-allow-headers", allowed))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Has one request answered."""

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], *self._headers]
            await send(message)

        await self._app(scope, receive, send_with_headers)


def is_admin_path(path: str) -> bool:
    """Whether a path, as sent, changes what is served, however it is spelled."""
    return _ADMIN.fullmatch(unquote(path).lower()) is not None


def _authorization(scope: Scope) -> bytes | None:
    for name, value in scope["headers"]:
        if name == b"authorization":
            content: bytes = value
            return content
    return None
