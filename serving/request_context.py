"""What is known of the request that is being answered, wherever in the code: who asks, by which way, in which trace."""

import re
import time
from collections.abc import Callable, Iterable
from contextvars import ContextVar
from typing import Any, NamedTuple

from serving.security.callers import current_caller

# https://www.w3.org/TR/trace-context-1/#traceparent-header; versions to come may append fields.
_TRACEPARENT = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")
_MAX_REQUEST_ID = 128

Headers = Callable[[], Iterable[tuple[Any, Any]]]


class TraceParent(NamedTuple):
    """The caller's place in a trace: ids in lower-case hexadecimal digits."""

    trace_id: str
    span_id: str
    sampled: bool


class RequestContext:
    """One request. Its headers are read only when somebody asks for something in them.

    Args:
        entrypoint: `REST` or `GRPC`.
        headers: Gives the request's headers or metadata, names in lower case.

    Attributes:
        api: What is called: `Predict`, `predict`, `explain`, and so on; empty until it is known.
        started_ns: When the request arrived, in nanoseconds since 1970.
        span: Its span, once there is one; see `serving.tracing`.
    """

    __slots__ = ("_headers", "_request_id", "api", "entrypoint", "span", "started_ns")

    def __init__(self, entrypoint: str, headers: Headers) -> None:
        self.entrypoint = entrypoint
        self.api = ""
        self.started_ns = time.time_ns()
        self.span: Any = None
        self._headers = headers
        self._request_id = ""

    def header(self, name: str) -> str:
        """A header's value, of several the first; empty where there is none."""
        wanted = name.encode()
        for key, value in self._headers():
            if key in (wanted, name):
                return value.decode("latin-1") if isinstance(value, bytes) else str(value)
        return ""

    @property
    def client(self) -> str:
        """Name of the token that was shown; empty where the server asks for none."""
        caller = current_caller()
        return "" if caller is None else caller.name

    @property
    def trace_parent(self) -> TraceParent | None:
        """The caller's `traceparent`, or None where there is none, or one that the standard says to ignore."""
        return parse_traceparent(self.header("traceparent"))

    @property
    def trace_id(self) -> str:
        """The trace that the request belongs to; empty where it belongs to none."""
        if self.span is not None:
            return f"{self.span.get_span_context().trace_id:032x}"
        parent = self.trace_parent
        return "" if parent is None else parent.trace_id

    @property
    def request_id(self) -> str:
        """The caller's `x-request-id`, or one that is made up here."""
        if not self._request_id:
            import uuid

            self._request_id = self.header("x-request-id")[:_MAX_REQUEST_ID] or str(uuid.uuid4())
        return self._request_id


CURRENT: ContextVar[RequestContext | None] = ContextVar("request", default=None)
"""The request that the running task answers."""


def begin_request(entrypoint: str, headers: Headers) -> RequestContext:
    """Says that the running task answers a request from now on; transports run each in a task of its own."""
    request = RequestContext(entrypoint, headers)
    CURRENT.set(request)
    return request


def parse_traceparent(value: str) -> TraceParent | None:
    """Reads a `traceparent` header (W3C Trace Context); None where it is absent or invalid."""
    match = _TRACEPARENT.fullmatch(value.strip())
    if match is None:
        return None
    version, trace_id, span_id, flags, rest = match.groups()
    if version == "ff" or (version == "00" and rest) or not int(trace_id, 16) or not int(span_id, 16):
        return None
    return TraceParent(trace_id, span_id, bool(int(flags, 16) & 1))
