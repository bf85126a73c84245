"""Handlers that are made, and their modules imported, when somebody first calls them."""

from collections.abc import Callable, Mapping

from serving.grpc.rpc import Rpc


class LazyRpcs:
    """Stands for the RPCs of a service that most servers are never asked for, whose code would cost every start.

    Args:
        service: The service's full name.
        make: Imports what they need, and gives them by name.
    """

    def __init__(self, service: str, make: Callable[[], Mapping[str, Rpc]]) -> None:
        self._prefix = f"/{service}/"
        self._make = make
        self._rpcs: Mapping[str, Rpc] | None = None

    def find(self, path: str) -> Rpc | None:
        """What answers `/package.Service/Method`; None where it isn't one of these."""
        if not path.startswith(self._prefix):
            return None
        if self._rpcs is None:
            self._rpcs = self._make()
        return self._rpcs.get(path.removeprefix(self._prefix))
