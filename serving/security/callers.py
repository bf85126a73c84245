"""Who asks, and what they may do."""

import contextvars
from dataclasses import dataclass

from serving.errors import Code, ServingError
from serving.types import EXPLAIN_SIGNATURE, EXPLAIN_TARGET_SIGNATURE

PREDICT, EXPLAIN, ADMIN = "predict", "explain", "admin"
SCOPES = (PREDICT, EXPLAIN, ADMIN)

_EXPLAIN_SIGNATURES = frozenset({EXPLAIN_SIGNATURE, EXPLAIN_TARGET_SIGNATURE})


@dataclass(frozen=True)
class Caller:
    """Who showed a token.

    Attributes:
        name: The token's name, for logs and metrics.
        scopes: What it may do; `admin` may do everything.
    """

    name: str
    scopes: frozenset[str]

    def may(self, scope: str) -> bool:
        """Whether the token has a scope."""
        return scope in self.scopes or ADMIN in self.scopes


_CURRENT: contextvars.ContextVar[Caller | None] = contextvars.ContextVar("caller", default=None)


def current_caller() -> Caller | None:
    """Who sent the request that is being answered; None where no tokens are asked for."""
    return _CURRENT.get()


def set_caller(caller: Caller | None) -> None:
    """Notes who sent the request, for the task that answers it."""
    _CURRENT.set(caller)


def check_scope(caller: Caller, scope: str) -> None:
    """Refuses what a token may not do.

    Raises:
        ServingError: PERMISSION_DENIED.
    """
    if not caller.may(scope):
        raise ServingError(
            Code.PERMISSION_DENIED,
            f"A token with the scope `{scope}` is needed. Received: {caller.name!r}, with "
            f"{', '.join(sorted(caller.scopes))}. Use another token, or give this one the scope.",
        )


def check_signature_scope(signature_name: str) -> None:
    """Refuses a request for a signature that its token may not run; explanations have a scope of their own.

    Raises:
        ServingError: PERMISSION_DENIED.
    """
    caller = _CURRENT.get()
    if caller is not None:
        check_scope(caller, EXPLAIN if signature_name in _EXPLAIN_SIGNATURES else PREDICT)
