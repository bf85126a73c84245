"""How the server's log looks: one line a message, as text or as JSON."""

import json
import logging
import time
from typing import Any

from serving.request_context import CURRENT

TEXT, JSON = "text", "json"
LOG_FORMATS = (TEXT, JSON)

_INTERVAL_S = 1.0
_MOST_MESSAGES = 1000
# What can go wrong with every single request, and so a thousand times a second.
_REPEATING = (
    "serving.batch",
    "serving.grpc",
    "serving.logs",
    "serving.rest",
    "serving.tracing",
    "opentelemetry",
    "grpc",
    "uvicorn",
)


class TextFormatter(logging.Formatter):
    """Time in UTC, level, logger, message, and the trace where the message belongs to one."""

    converter = staticmethod(time.gmtime)

    def __init__(self) -> None:
        super().__init__("%(asctime)s.%(msecs)03dZ %(levelname)s %(name)s: %(message)s", "%Y-%m-%dT%H:%M:%S")

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 -- logging's name
        """The line without a traceback."""
        trace_id = _trace_id()
        line = super().formatMessage(record) + (f" trace_id={trace_id}" if trace_id else "")
        # A message may repeat what a client sent: a line break in it must not look like a message of ours.
        return line.replace("\r", "\\r").replace("\n", "\\n")


class JsonFormatter(logging.Formatter):
    """One JSON object a line: `time`, `level`, `logger`, `message`, its fields, `trace_id` and `traceback`."""

    converter = staticmethod(time.gmtime)

    def format(self, record: logging.LogRecord) -> str:
        """The line."""
        line: dict[str, Any] = {
            "time": f"{self.formatTime(record, '%Y-%m-%dT%H:%M:%S')}.{int(record.msecs):03d}Z",
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
            **getattr(record, "fields", {}),
        }
        if trace_id := _trace_id():
            line["trace_id"] = trace_id
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str)


class RateLimit(logging.Filter):
    """Lets a warning that requests repeat through once a second, and says then how many it held back."""

    def __init__(self) -> None:
        super().__init__()
        self._next: dict[tuple[str, str], float] = {}
        self._held: dict[tuple[str, str], int] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether the record is logged."""
        if record.levelno < logging.WARNING or not record.name.startswith(_REPEATING):
            return True
        key, now = (record.name, str(record.msg)), time.monotonic()
        if now < self._next.get(key, 0.0):
            self._held[key] = self._held.get(key, 0) + 1
            return False
        self._next[key] = now + _INTERVAL_S
        if len(self._next) > _MOST_MESSAGES:
            self._next.clear()
        held = self._held.pop(key, 0)
        if held:
            record.msg = f"{record.msg} (and {held} more like it since)"
        return True


def configure_logging(level: int = logging.INFO, *, log_format: str = TEXT) -> None:
    """Sends the log of the whole process to standard error; times are UTC.

    Args:
        level: The least level that is logged.
        log_format: `text` or `json`.
    """
    handler = logging.StreamHandler()
    handler.setFormatter(JsonFormatter() if log_format == JSON else TextFormatter())
    handler.addFilter(RateLimit())
    logging.basicConfig(level=level, handlers=[handler], force=True)
    # They announce every start and stop, which we say ourselves.
    logging.getLogger("uvicorn").setLevel(logging.WARNING)
    logging.getLogger("asyncio").setLevel(logging.WARNING)


def _trace_id() -> str:
    request = CURRENT.get()
    return "" if request is None else request.trace_id
