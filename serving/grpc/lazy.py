"""Handlers that are made, and their modules imported, when somebody first calls them."""

from collections.abc import Callable, Collection
from typing import Any

import grpc


class LazyHandlers(grpc.GenericRpcHandler):
    """Stands for RPCs that most servers are never asked for, whose messages and code would cost every start.

    Args:
        methods: The paths that are answered: `/package.Service/Method`, or `/package.Service/` for all of a service.
        make: Imports what they need and returns the handler.
    """

    def __init__(self, methods: Collection[str], make: Callable[[], Any]) -> None:
        self._methods = tuple(methods)
        self._make = make
        self._handler: Any = None

    def service(self, handler_call_details: Any) -> Any:
        """The handler of an RPC; None where it isn't one of these."""
        if not handler_call_details.method.startswith(self._methods):
            return None
        if self._handler is None:
            self._handler = self._make()
        return self._handler.service(handler_call_details)
