"""Who and how many are let in, the same for REST and gRPC."""

from prometheus_client import CollectorRegistry, Counter

from serving.errors import Code, ServingError
from serving.security.callers import ADMIN, Caller, check_scope, set_caller
from serving.security.tokens import TokenFile


class Guard:
    """Stands before every request but those for health. All methods belong to the event loop's thread.

    Args:
        tokens: Who may ask; None: everybody.
        max_concurrent_requests: Requests in the server at once, over all transports; 0: no limit.
        registry: Where requests are counted by the name of their token; None: nowhere.
    """

    def __init__(
        self, tokens: TokenFile | None, *, max_concurrent_requests: int = 0, registry: CollectorRegistry | None = None
    ) -> None:
        self.tokens = tokens
        self._max = max_concurrent_requests
        self._inside = 0
        self._requests = None
        if tokens is not None and registry is not None:
            self._requests = Counter(
                "whyserve_caller_requests", "Requests by the name of their token", ["caller"], registry=registry
            )

    def check_caller(self, authorization: str | bytes | None, *, admin: bool) -> None:
        """Finds out who asks, and notes it for the task that answers.

        Args:
            authorization: The header or metadata `authorization`.
            admin: Whether the request changes what is served.

        Raises:
            ServingError: UNAUTHENTICATED, or PERMISSION_DENIED where the token may not do that.
        """
        if self.tokens is None:
            return
        caller: Caller = self.tokens.caller(authorization)
        if self._requests is not None:
            self._requests.labels(caller.name).inc()
        if admin:
            check_scope(caller, ADMIN)
        set_caller(caller)

    def check_room(self) -> None:
        """Refuses a request where as many are inside as may be.

        Raises:
            ServingError: RESOURCE_EXHAUSTED.
        """
        if self._max and self._inside >= self._max:
            raise ServingError(
                Code.RESOURCE_EXHAUSTED,
                f"The server is full: {self._inside} requests are being answered, and no more are taken. Send the "
                "request again later.",
            )

    def enter(self) -> None:
        """Counts a request in; `leave` must follow.

        Raises:
            ServingError: RESOURCE_EXHAUSTED.
        """
        self.check_room()
        self._inside += 1

    def leave(self) -> None:
        """Counts a request out."""
        self._inside -= 1
