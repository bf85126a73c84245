import numpy as np
import pytest
from keras import layers, ops

from tests.explain.running import explain, functional, relevance_of, signal

# Two inputs a and b, merged, below a dense layer: what the merge holds is known, and so is what each should get.
MERGES = {
    "two signals share evenly": (lambda a, b: a * b, lambda a, b: a * b, (0.5, 0.5)),
    "a sigmoid is a gate": (lambda a, b: a * ops.sigmoid(b), lambda a, b: a / (1 + np.exp(-b)), (1.0, 0.0)),
    "a gate from the left": (lambda a, b: ops.sigmoid(a) * b, lambda a, b: b / (1 + np.exp(-a)), (0.0, 1.0)),
    "a divisor is a normaliser": (lambda a, b: a / (1 + ops.square(b)), lambda a, b: a / (1 + b**2), (1.0, 0.0)),
}


@pytest.mark.parametrize("head", ["linear", "tanh"])
@pytest.mark.parametrize("case", MERGES)
def test_a_product_of_two_signals_conserves(case, head):
    merge, merged, parts = MERGES[case]

    def above(x):
        return layers.Dense(2)(layers.Activation(head)(x))

    a, b = signal(2, 3), signal(2, 3, seed=2)
    model = functional(lambda x, y: above(merge(x, y)), (3,), (3,))
    reference = functional(above, (3,))
    reference.set_weights(model.get_weights())
    r = explain(reference, merged(a, b), composite="epsilon")["relevance"]
    for actual, part in zip(relevance_of(explain(model, a, b, composite="epsilon")), parts, strict=True):
        np.testing.assert_allclose(actual, part * r, rtol=1e-9, atol=1e-12)
