"""What answers an RPC, whatever carries it: messages are bytes, failures are ServingErrors."""

from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from serving.errors import Code, ServingError


class RpcContext(Protocol):
    """One call, as its handler sees it."""

    def invocation_metadata(self) -> Sequence[tuple[str, str | bytes]]:
        """What the client sent with the call: text, or bytes where a name ends in `-bin`."""
        ...

    def time_remaining(self) -> float | None:
        """Seconds until the client's deadline; None where it has none."""
        ...


class RpcError(ServingError):
    """An error with something for the client's library.

    Args:
        code: The canonical code.
        message: For people.
        trailing_metadata: Sent with the status.
    """

    def __init__(self, code: Code, message: str, trailing_metadata: Sequence[tuple[str, str]]) -> None:
        super().__init__(code, message)
        self.trailing_metadata = trailing_metadata


@dataclass(frozen=True)
class UnaryRpc:
    """One message in, one message out.

    Args:
        answer: Gives the reply to a message, or raises a ServingError.
    """

    answer: Callable[[bytes, RpcContext], Awaitable[bytes]]


@dataclass(frozen=True)
class StreamRpc:
    """Any number of messages in, any number of messages out.

    Args:
        answer: Gives the replies to the messages, or raises a ServingError.
    """

    answer: Callable[[AsyncIterator[bytes], RpcContext], AsyncGenerator[bytes, None]]


Rpc = UnaryRpc | StreamRpc
