"""HTTP on one connection: uvicorn's protocol, with the time limits and bounds that it lacks."""

import asyncio
from collections.abc import Callable
from typing import Any

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle

from serving.errors import Code, ServingError
from serving.rest.asgi import App, Scope, Send
from serving.rest.encode import encode_json
from serving.rest.limits import ConnectionLimits
from serving.rest.replies import error_reply, send_reply
from serving.rest.routes import HEALTH

# uvicorn and its parser take headers of any size.
MAX_HEAD_BYTES = 1 << 16

# How long a refused client that goes on sending is still listened to.
_LINGER_S = 0.5

# A connection too many is told so at its first request, which it must send soon.
_FULL_TIMEOUT_S = 1.0


class HttpProtocol(HttpToolsProtocol):
    """One connection. A request that arrives in one piece, as most do, starts no timer.

    A client that is slow to send gets 408, one that is slow to read is cut off, and one that says nothing is closed,
    which uvicorn does only between requests.

    Args:
        config: uvicorn's.
        server_state: uvicorn's.
        app_state: uvicorn's.
        limits: The bounds.
    """

    def __init__(self, config: Any, server_state: Any, app_state: dict[str, Any], *, limits: ConnectionLimits) -> None:
        super().__init__(config, server_state, app_state)
        self._limits = limits
        self._read_timeout_s = limits.read_timeout_s
        self.timeout_keep_alive = limits.idle_timeout_s  # type: ignore[assignment]  # only ever given to call_later
        self._arriving = False
        self._head_bytes = 0
        self._piece_bytes = 0
        self._reading: asyncio.TimerHandle | None = None
        self._writing: asyncio.TimerHandle | None = None
        self._answering: RequestResponseCycle | None = None
        self._refused = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn's
        """A client has come."""
        super().connection_made(transport)
        idle_timeout_s = self._limits.idle_timeout_s
        if self._limits.max_connections and len(self.connections) > self._limits.max_connections:
            self.app = _full(self.app, self._limits.max_connections)
            self._read_timeout_s = idle_timeout_s = _FULL_TIMEOUT_S
        self.timeout_keep_alive_task = self.loop.call_later(idle_timeout_s, self.timeout_keep_alive_handler)

    def connection_lost(self, exc: Exception | None) -> None:
        """The client has gone."""
        self._stop_reading_timer()
        self._stop_writing_timer()
        self._unset_keepalive_if_required()
        self._stop_answering()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """A piece of a request, or several."""
        if self._refused:
            return
        self._piece_bytes = len(data)
        super().data_received(data)
        if self._arriving and not (self._refused or self.transport.is_closing()):
            self._wait_for_rest(len(data))

    def on_message_begin(self) -> None:
        """The parser found a request's first byte."""
        super().on_message_begin()
        self._arriving = True
        self._head_bytes = 0

    def on_headers_complete(self) -> None:
        """The parser found the empty line behind the headers."""
        if self._head_bytes + self._piece_bytes > MAX_HEAD_BYTES and self._parsed_head_bytes() > MAX_HEAD_BYTES:
            self._refuse_head()
            raise ValueError("The head is too large.")  # stops the parser
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """The parser found a request's last byte."""
        super().on_message_complete()
        self._arriving = False
        if self._reading is not None:
            self._stop_reading_timer()

    def pause_writing(self) -> None:
        """The client reads more slowly than it is answered."""
        super().pause_writing()
        if self._writing is None:
            self._writing = self.loop.call_later(self._limits.read_timeout_s, self._cut_off)

    def resume_writing(self) -> None:
        """It has caught up."""
        super().resume_writing()
        self._stop_writing_timer()

    def send_400_response(self, msg: str) -> None:
        """The parser understands nothing, or was stopped."""
        if not self._refused:
            self._refuse(400, f"{msg} Expected HTTP/1.1, or 1.0.")

    def _unsupported_upgrade_warning(self) -> None:
        """A client that asks for another protocol is answered in this one, as HTTP has it; that is no fault."""

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        self._answering = cycle
        super()._start_asgi_task(cycle, app)

    def _stop_answering(self) -> None:
        """Has nothing more written to a connection that is gone.

        uvicorn says so to the last request that arrived: of several in one piece the first is being answered.
        """
        cycle = self._answering
        if cycle is not None and not cycle.response_complete:
            cycle.disconnected = True
            cycle.message_event.set()

    def _cut_off(self) -> None:
        self._stop_answering()
        self.transport.abort()

    def _stop_reading_timer(self) -> None:
        if self._reading is not None:
            self._reading.cancel()
            self._reading = None

    def _stop_writing_timer(self) -> None:
        if self._writing is not None:
            self._writing.cancel()
            self._writing = None

    def _in_head(self) -> bool:
        return self.scope is None or "method" not in self.scope

    def _wait_for_rest(self, size: int) -> None:
        if self._reading is None:
            self._reading = self.loop.call_later(self._read_timeout_s, self._on_late)
        if self._in_head():
            self._head_bytes += size
            if self._head_bytes > MAX_HEAD_BYTES:
                self._refuse_head()

    def _parsed_head_bytes(self) -> int:
        return len(self.url) + sum(len(name) + len(value) + len(": \r\n") for name, value in self.headers)

    def _refuse_head(self) -> None:
        self._refuse(431, f"A request's line and headers may be {MAX_HEAD_BYTES} bytes. Received: more.")

    def _on_late(self) -> None:
        self._reading = None
        if self.transport.is_closing() or self._refused:
            return
        unanswered = self.cycle is not None and not self.cycle.response_complete
        if self.flow.read_paused or (self._in_head() and unanswered):
            # It is we who don't read on, or an earlier request must be answered first.
            self._reading = self.loop.call_later(self._read_timeout_s, self._on_late)
            return
        self._refuse(
            408,
            f"A request must arrive within {self._read_timeout_s:g} s. Received: a part of it. Send less at a time.",
        )

    def _refuse(self, status: int, message: str) -> None:
        """Answers the request that is arriving, where nobody has yet, and closes the connection."""
        cycle = self.cycle
        if cycle is None or cycle.response_complete or (not self._in_head() and not cycle.response_started):
            body = encode_json({"error": message})
            head = b"content-type: application/json\r\ncontent-length: %d\r\nconnection: close\r\n\r\n" % len(body)
            self.transport.write(STATUS_LINE[status] + head + body)
        if cycle is not None and not cycle.response_complete:
            cycle.disconnected = True
            cycle.message_event.set()
        self._close_slowly()

    def _close_slowly(self) -> None:
        """Lets the client read why: data that arrives at a closed connection resets it, and the answer is lost."""
        self._refused = True
        self._stop_reading_timer()
        self._stop_answering()
        if self.transport.is_closing():
            return
        if not self.transport.can_write_eof():  # TLS
            self.transport.close()
            return
        self.transport.write_eof()
        self.loop.call_later(_LINGER_S, self.transport.close)


def _full(app: App, max_connections: int) -> App:
    """Answers health as ever, and everything else with 429 and the end of the connection."""

    async def answer(scope: Scope, receive: Callable[..., Any], send: Send) -> None:
        if scope["raw_path"].decode("latin-1") in HEALTH:
            await app(scope, receive, send)
            return
        error = ServingError(
            Code.RESOURCE_EXHAUSTED,
            f"The server is full: {max_connections} connections are open, and no more are taken. Try again later.",
        )
        await send_reply(send, error_reply(error), ((b"connection", b"close"),))

    return answer
