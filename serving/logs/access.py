"""The access log: a line for every request, in the server's own log."""

import logging

from serving.metrics import RequestEnd
from serving.request_context import CURRENT

logger = logging.getLogger(__name__)


def log_access(end: RequestEnd) -> None:
    """Logs a request that was answered, whatever came of it."""
    request = CURRENT.get()
    logger.info(
        "%s %s %s %s %s %s %.3f ms",
        end.entrypoint,
        end.api or "-",
        end.model or "-",
        "-" if end.version is None else end.version,
        end.signature or "-",
        end.code.name,
        end.seconds * 1000,
        extra={
            "fields": {
                "entrypoint": end.entrypoint,
                "api": end.api,
                "model": end.model,
                "version": end.version,
                "signature": end.signature,
                "status": end.code.name,
                "latency_ms": round(end.seconds * 1000, 3),
                "client": "" if request is None else request.client,
            }
        },
    )
