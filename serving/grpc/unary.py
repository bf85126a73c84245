"""How an RPC is answered: parsed, timed, counted, and every failure turned into a status."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import grpc
from google.protobuf.message import DecodeError, Message

from serving.errors import Code, ServingError, invalid_argument
from serving.grpc.status import details, status_code
from serving.types import ModelSpec

if TYPE_CHECKING:
    from serving.metrics import Metrics

logger = logging.getLogger(__name__)

Request = TypeVar("Request", bound=Message)


@dataclass
class Call:
    """What is known of a request while it is answered, for the metrics."""

    rpc: str
    model: str = ""
    version: int | None = None
    signature: str = ""

    def answered_by(self, spec: ModelSpec) -> None:
        """Notes which model, version and signature the request has reached."""
        self.model, self.version, self.signature = spec.name, spec.version, spec.signature_name


def unary(
    metrics: "Metrics",
    method: Callable[[Request, float | None, Call], Awaitable[Message]],
    request_type: type[Request],
) -> Any:
    """A handler that parses the request itself: garbage gets a clear answer, and no stack trace in the log.

    Args:
        metrics: Where the request is counted.
        method: Answers a request, given the seconds left and what is noted for the metrics; its name is the RPC's, in
            lower case with underscores.
        request_type: The message that it takes.

    Returns:
        The handler, for `grpc.method_handlers_generic_handler`.
    """
    rpc = method.__name__.replace("_", " ").title().replace(" ", "")

    async def answer(content: bytes, context: Any) -> bytes | None:
        call, start = Call(rpc), time.perf_counter()
        try:
            request = _parse(request_type, content)
            reply = (await method(request, context.time_remaining(), call)).SerializeToString()
        except asyncio.CancelledError:
            observe(metrics, call, Code.CANCELLED, time.perf_counter() - start)
            raise
        except ServingError as error:
            failure = error
        except Exception:
            logger.exception("%s failed", rpc)
            failure = ServingError(
                Code.INTERNAL, f"{rpc} failed inside the server, which is still up. Its log says why."
            )
        else:
            observe(metrics, call, Code.OK, time.perf_counter() - start)
            return reply
        observe(metrics, call, failure.code, time.perf_counter() - start)
        await context.abort(status_code(failure.code), details(failure))
        return None

    return grpc.unary_unary_rpc_method_handler(answer)


def observe(metrics: "Metrics", call: Call, code: Code, seconds: float) -> None:
    """Counts a request that was answered."""
    metrics.observe_request(
        model=call.model,
        version=call.version,
        signature=call.signature,
        api=call.rpc,
        entrypoint="GRPC",
        code=code,
        seconds=seconds,
    )


def _parse(request_type: type[Request], content: bytes) -> Request:
    try:
        return request_type.FromString(content)
    except DecodeError as error:
        raise invalid_argument(
            f"Expected a {request_type.DESCRIPTOR.full_name}. Received: {len(content)} bytes that are no such message. "
            "Compile the client from TensorFlow Serving's .proto files."
        ) from error
