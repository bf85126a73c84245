"""Refusals of the explanation engine: every one names what was met, where, and the way out."""


class ExplainError(ValueError):
    """The model can't be explained as asked; nothing was built."""


class UnsupportedOperationError(ExplainError):
    """The model holds an operation that no relevance rule is registered for.

    Args:
        operation: Type of the traced operation, e.g. `Cumprod`.
        layer: Name of the layer that the operation belongs to.
        reason: Why it can't be explained, where there is more to say than "no rule is registered".
    """

    def __init__(self, operation: str, layer: str, reason: str = "") -> None:
        self.operation = operation
        self.layer = layer
        super().__init__(
            f"No relevance rule for operation '{operation}' (layer '{layer}'). "
            + (f"{reason} " if reason else "")
            + ("Export" if reason else f"Register one with `explain.operations.register('{operation}')`, or export")
            + " without explanations (`--no-explain`)."
        )


class CompositeError(ExplainError):
    """A composite or rule that is not known, or whose parameters don't fit."""


class LayerError(ExplainError):
    """An inner layer whose relevance was asked for isn't there, or no relevance passes over its output."""


class OutputError(ExplainError):
    """The output to explain is missing, ambiguous or of a kind that can't be explained."""
