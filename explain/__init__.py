"""Layer-wise relevance propagation for Keras models, as forward operations that export to SavedModel and ONNX."""

from explain.composites import COMPOSITES, Assignment, Composite, named_composite
from explain.errors import CompositeError, ExplainError, OutputError, UnsupportedOperationError
from explain.explainer import Explainer, build_explainer
from explain.rules import Rule

__all__ = [
    "COMPOSITES",
    "Assignment",
    "Composite",
    "CompositeError",
    "ExplainError",
    "Explainer",
    "OutputError",
    "Rule",
    "UnsupportedOperationError",
    "build_explainer",
    "named_composite",
]
