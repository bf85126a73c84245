"""Examples that rounding decides: no two programs agree on them, and neither is wrong.

Relevance isn't continuous in the inputs: the winner of a max-pooling window takes it all, and a hair's breadth between
two elements decides who that is. A sigmoid far from zero turns the rounding of its score into as large a part of
itself. Such an example is known by changing its inputs by their own rounding error: what one and the same program
computes then changes as much as two programs differ.
"""

import numpy as np

from export.runners import Arrays, Runner
from export.saved_model import TARGET

_PROBES = 8
_ROUNDING = 4 * float(np.finfo(np.float32).eps)  # a few units in the last place: what a layer's sums lose
_MARGIN = 4.0  # eight probes don't find the largest change there is
_SEED = 20260103


def at_a_jump(differences: np.ndarray, moved: np.ndarray) -> np.ndarray:
    """Which examples differ by no more than rounding of their inputs moves them.

    Args:
        differences: By how much two programs differ, `(batch,)`.
        moved: What `rounding_moves` found for the same output, `(batch,)`.

    Returns:
        bool `(batch,)`.
    """
    return differences <= _MARGIN * moved


def rounding_moves(probe: Runner, signature: str, inputs: Arrays) -> dict[str, np.ndarray]:
    """By how much rounding of the inputs changes the outputs of one program.

    Args:
        probe: A program that computes the signature.
        signature: The signature.
        inputs: Its inputs, examples first. Only floating-point ones are changed.

    Returns:
        The largest change of an element of each example, `(batch,)`, for each floating-point output.
    """
    generator = np.random.default_rng(_SEED)
    original = {name: v for name, v in probe.run(signature, inputs).items() if np.issubdtype(v.dtype, np.floating)}
    moved = {name: np.zeros(len(values)) for name, values in original.items()}
    for _ in range(_PROBES):
        changed = {name: values if name == TARGET else _rounded(values, generator) for name, values in inputs.items()}
        outputs = probe.run(signature, changed)
        for name, values in original.items():
            moved[name] = np.maximum(moved[name], per_example(np.abs(outputs[name] - values)))
    return moved


def per_example(values: np.ndarray) -> np.ndarray:
    """The largest of each example, `(batch,)`."""
    return values.reshape(len(values), -1).max(axis=1, initial=0.0)


def _rounded(values: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    if not np.issubdtype(values.dtype, np.floating):
        return values
    return (values * (1 + generator.uniform(-_ROUNDING, _ROUNDING, values.shape))).astype(values.dtype)
