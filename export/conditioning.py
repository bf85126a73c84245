"""Examples that rounding decides: no two programs agree on them, and neither is wrong.

Relevance isn't continuous in the inputs: the winner of a max-pooling window takes it all, and a hair's breadth between
two elements decides who that is. A sigmoid far from zero turns the rounding of its score into as large a part of
itself. Such an example is known by changing its inputs by their own rounding error: what one and the same program
computes then changes as much as two programs differ.
"""

from typing import final

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
        moved: By how much rounding of the inputs moves the same output, `(batch,)`.

    Returns:
        bool `(batch,)`.
    """
    return differences <= _MARGIN * moved


@final
class Rounding:
    """By how much rounding of a call's inputs changes the outputs of one program: as many runs as the question takes.

    Args:
        probe: A program that computes the signature.
        signature: The signature.
        inputs: Its inputs, examples first. Only floating-point ones are changed.
    """

    def __init__(self, probe: Runner, signature: str, inputs: Arrays) -> None:
        self._probe = probe
        self._signature = signature
        self._inputs = inputs
        self._generator = np.random.default_rng(_SEED)
        self._left = _PROBES
        outputs = probe.run(signature, inputs)
        self._original = {name: v for name, v in outputs.items() if np.issubdtype(v.dtype, np.floating)}
        self.moved = {name: np.zeros(len(values)) for name, values in self._original.items()}

    def decides(self, output: str, differences: np.ndarray, beyond: np.ndarray) -> np.ndarray:
        """Which examples that two programs don't agree on are at a jump.

        Args:
            output: A floating-point output.
            differences: By how much the programs differ, `(batch,)`.
            beyond: Which examples that is too much for, bool `(batch,)`.

        Returns:
            bool `(batch,)`.
        """
        while self._left and (beyond & ~at_a_jump(differences, self.moved[output])).any():
            self._run()
        return beyond & at_a_jump(differences, self.moved[output])

    def _run(self) -> None:
        self._left -= 1
        changed = {
            name: values if name == TARGET else _rounded(values, self._generator)
            for name, values in self._inputs.items()
        }
        outputs = self._probe.run(self._signature, changed)
        for name, values in self._original.items():
            self.moved[name] = np.maximum(self.moved[name], per_example(np.abs(outputs[name] - values)))


def per_example(values: np.ndarray) -> np.ndarray:
    """The largest of each example, `(batch,)`."""
    return values.reshape(len(values), -1).max(axis=1, initial=0.0)


def _rounded(values: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    if not np.issubdtype(values.dtype, np.floating):
        return values
    return (values * (1 + generator.uniform(-_ROUNDING, _ROUNDING, values.shape))).astype(values.dtype)
