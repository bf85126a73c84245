"""How far rounding decides an explanation: there no two programs agree, and neither is wrong.

Relevance may be badly conditioned: a sum of two branches that nearly cancel divides by what is left, and hands on a
thousand times the rounding of its inputs. And it isn't continuous: the winner of a max-pooling window takes it all, a
ReLU over such a sum is on or off, and a hair's breadth decides. Both are known by changing the inputs by about what a
layer's sums lose: what one and the same program computes then changes as much as two programs differ.

That shows what an input's own rounding does. What each layer's sums lose on the way shows if the weights are changed as
well: a sum of products as computed is the exact sum of slightly other products (Higham 2002, Accuracy and Stability of
Numerical Algorithms, section 3.1). It takes that where the inputs are whole numbers, and in recurrent layers, whose
relevance is a product of as many quotients as there are steps.

And where gates are saturated neither inputs nor weights move them, but each result is rounded: a carry that is 1 - 1 is
1e-7 in one program and 0 in the other. That shows if each operation rounds at random (see `export.random_rounding`).
"""

from collections.abc import Iterator
from typing import final

import numpy as np

from export.runners import Arrays, Probe
from export.saved_model import TARGET

_RUNS = 8  # of each kind
_ROUNDING = 16 * float(np.finfo(np.float32).eps)  # what the sums of some hundred products in another order lose
_MARGIN = 4.0  # the probes don't find the largest change there is
_SEED = 20260103


@final
class Rounding:
    """By how much rounding of a call's inputs and weights changes the outputs of one program.

    As many runs as the question takes, first of those that tell most programs apart: with other inputs, then with other
    weights as well, then with operations that round at random.

    Args:
        probe: A program that computes the signature.
        signature: The signature.
        inputs: Its inputs, examples first. Only floating-point ones are changed.
    """

    def __init__(self, probe: Probe, signature: str, inputs: Arrays) -> None:
        self._probe = probe
        self._signature = signature
        self._inputs = inputs
        self._generator = np.random.default_rng(_SEED)
        self._runs = self._all_runs()
        outputs = probe.run(signature, inputs)
        self._original = {name: v for name, v in outputs.items() if np.issubdtype(v.dtype, np.floating)}
        self._moved = {name: np.zeros(len(values)) for name, values in self._original.items()}

    def explains(self, output: str, differences: np.ndarray) -> np.ndarray:
        """Up to which difference two programs may be apart in each example because rounding moves it as far.

        Args:
            output: A floating-point output.
            differences: The largest difference of each example that needs an explanation, `(batch,)`; the program is
                run until all have one, or often enough.

        Returns:
            float64 `(batch,)`, in the units of the output.
        """
        while (differences > _MARGIN * self._moved[output]).any() and (outputs := next(self._runs, None)) is not None:
            for name, values in self._original.items():
                self._moved[name] = np.maximum(self._moved[name], per_example(np.abs(outputs[name] - values)))
        return _MARGIN * self._moved[output]

    def _all_runs(self) -> Iterator[Arrays]:
        """The outputs of all runs."""
        if any(np.issubdtype(values.dtype, np.floating) for values in self._inputs.values()):
            for _ in range(_RUNS):
                yield self._run_on_changed()
        for turn in range(_RUNS):
            with self._probe.moved(_ROUNDING, _SEED + turn):
                outputs = self._run_on_changed()
            yield outputs
        for _ in range(_RUNS):
            yield self._probe.rounded_at_random.run(self._signature, self._inputs)

    def _run_on_changed(self) -> Arrays:
        changed = {
            name: values if name == TARGET else _rounded(values, self._generator)
            for name, values in self._inputs.items()
        }
        return self._probe.run(self._signature, changed)


def per_example(values: np.ndarray) -> np.ndarray:
    """The largest of each example, `(batch,)`."""
    return values.reshape(len(values), -1).max(axis=1, initial=0.0)


def _rounded(values: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    if not np.issubdtype(values.dtype, np.floating):
        return values
    return (values * (1 + generator.uniform(-_ROUNDING, _ROUNDING, values.shape))).astype(values.dtype)
