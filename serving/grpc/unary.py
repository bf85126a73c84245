"""How an RPC is answered: parsed, timed, counted, and every failure turned into a status."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from google.protobuf.message import DecodeError, Message

from serving.errors import Code, ServingError, invalid_argument
from serving.grpc.rpc import RpcContext, UnaryRpc
from serving.request_context import Headers, begin_request
from serving.types import ModelSpec

if TYPE_CHECKING:
    from serving.data_plane import DataPlane
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

    def asks(self, data_plane: "DataPlane", name: str) -> None:
        """Notes which model the request is for, if it is served: of other names there is no end."""
        self.model = name if data_plane.serves(name) else ""

    def answered_by(self, spec: ModelSpec) -> None:
        """Notes which model, version and signature the request has reached."""
        self.model, self.version, self.signature = spec.name, spec.version, spec.signature_name


def unary(
    metrics: "Metrics",
    method: Callable[[Request, float | None, Call], Awaitable[Message]],
    request_type: type[Request],
) -> UnaryRpc:
    """A handler that parses the request itself: garbage gets a clear answer, and no stack trace in the log.

    Args:
        metrics: Where the request is counted.
        method: Answers a request, given the seconds left and what is noted for the metrics; its name is the RPC's, in
            lower case with underscores.
        request_type: The message that it takes.
    """
    respond = responder(metrics, method, request_type)

    async def answer(content: bytes, context: RpcContext) -> bytes:
        return await respond(content, context.time_remaining(), context.invocation_metadata)

    return UnaryRpc(answer)


def responder(
    metrics: "Metrics",
    method: Callable[[Request, float | None, Call], Awaitable[Message]],
    request_type: type[Request],
) -> Callable[..., Awaitable[bytes]]:
    """Answers one message, counted and timed; whatever goes wrong comes out as a ServingError.

    Args:
        metrics: See `unary`.
        method: See `unary`.
        request_type: See `unary`.

    Returns:
        What takes the message as bytes, the seconds left, and where the metadata is to be had if anywhere, and gives
        the reply as bytes.
    """
    rpc = method.__name__.replace("_", " ").title().replace(" ", "")

    async def respond(content: bytes, timeout_s: float | None, metadata: Headers = tuple) -> bytes:
        call, start = Call(rpc), time.perf_counter()
        begin_request("GRPC", metadata).api = rpc
        try:
            reply = (await method(_parse(request_type, content), timeout_s, call)).SerializeToString()
        except asyncio.CancelledError:
            observe(metrics, call, Code.CANCELLED, time.perf_counter() - start)
            raise
        except ServingError as error:
            observe(metrics, call, error.code, time.perf_counter() - start)
            raise
        except Exception as error:
            logger.exception("%s failed", rpc)
            observe(metrics, call, Code.INTERNAL, time.perf_counter() - start)
            raise ServingError(
                Code.INTERNAL, f"{rpc} failed inside the server, which is still up. Its log says why."
            ) from error
        observe(metrics, call, Code.OK, time.perf_counter() - start)
        return reply

    return respond


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
        name = request_type.DESCRIPTOR.full_name
        whose = "the Open Inference Protocol's" if name.startswith("inference.") else "TensorFlow Serving's"
        raise invalid_argument(
            f"Expected a {name}. Received: {len(content)} bytes that are no such message. "
            f"Compile the client from {whose} .proto files."
        ) from error
