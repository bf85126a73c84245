"""Layer-wise relevance propagation for Keras models, as forward operations that export to SavedModel and ONNX.

The names below are imported when they are first used: drawing a heatmap (`explain.render`) doesn't wait for TensorFlow.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from explain.composite_file import read_composite
    from explain.composites import Assignment, Composite
    from explain.errors import CompositeError, ExplainError, LayerError, OutputError, UnsupportedOperationError
    from explain.explainer import Explainer, build_explainer
    from explain.named_composites import COMPOSITES, named_composite
    from explain.rules import Rule

__all__ = [
    "COMPOSITES",
    "Assignment",
    "Composite",
    "CompositeError",
    "ExplainError",
    "Explainer",
    "LayerError",
    "OutputError",
    "Rule",
    "UnsupportedOperationError",
    "build_explainer",
    "named_composite",
    "read_composite",
]

_HOMES = {
    "explain.composite_file": ("read_composite",),
    "explain.composites": ("Assignment", "Composite"),
    "explain.errors": ("CompositeError", "ExplainError", "LayerError", "OutputError", "UnsupportedOperationError"),
    "explain.explainer": ("Explainer", "build_explainer"),
    "explain.named_composites": ("COMPOSITES", "named_composite"),
    "explain.rules": ("Rule",),
}


def __getattr__(name: str) -> Any:
    for module, names in _HOMES.items():
        if name in names:
            return getattr(importlib.import_module(module), name)
    raise AttributeError(f"module 'explain' has no attribute {name!r}")
