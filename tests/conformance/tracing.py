"""Explanations of the cases, each traced once and then run on whatever input a property asks for."""

from functools import cache

import numpy as np
import tensorflow as tf

from explain import build_explainer
from explain.conservation import accounts
from tests.conformance.cases import Case, double_model, model_in


class Explanation:
    """An explainer's `explain` for any batch and length, and its `audit`.

    Args:
        explainer: What to trace.
    """

    def __init__(self, explainer) -> None:
        self._explainer = explainer
        self._traced: dict = {}

    def __call__(self, inputs, target=-1, method="explain"):
        """Results as arrays; `target` one for all or one for each example."""
        specs = self._explainer.inputs
        if method not in self._traced:
            function = tf.function(getattr(self._explainer, method), autograph=False)
            self._traced[method] = function.get_concrete_function(specs, tf.TensorSpec((None,), tf.int32))
        batch = len(next(iter(inputs.values())))
        tensors = {name: tf.cast(tf.constant(inputs[name]), spec.dtype) for name, spec in specs.items()}
        results = self._traced[method](tensors, tf.constant(np.broadcast_to(target, [batch]), tf.int32))
        arrays = {name: value.numpy() for name, value in results.items()}
        return accounts(arrays, batch) if method == "audit" else arrays


@cache
def explanation(case: Case, composite: str | None = None, policy: str = "float64", **options) -> Explanation:
    """The case's explanation; `composite` is the case's own unless given."""
    model = double_model(case) if policy == "float64" else model_in(case, policy)
    return Explanation(build_explainer(model, composite=composite or case.composite, output=case.output, **options))


def relevances(case: Case, result):
    """Relevance by the inputs' names."""
    names = list(case.samples(1))
    if len(names) == 1:
        return {names[0]: result["relevance"]}
    return {name: result[f"relevance_{name}"] for name in names}
