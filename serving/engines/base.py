"""What an engine is: it turns a version folder into a model that answers requests."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np

from serving.types import Explanation, Signature


class LoadedModel(Protocol):
    """One version of a model, in memory and ready to run.

    Attributes:
        signatures: Its callables by name.
        explanation: How its explain signatures are to be read, or None where it has none.
        provider: Where it really runs, in the engine's own words, as in `CPUExecutionProvider`.
        refuses_non_finite: Whether NaN and infinity in floating-point inputs are refused before it runs.
        batchable: Whether it is known that neither the rows of a batch nor one run and the next influence each other,
            so that one run may answer the requests of several clients.
    """

    signatures: Mapping[str, Signature]
    explanation: Explanation | None
    provider: str
    refuses_non_finite: bool
    batchable: bool

    def run(
        self, signature_name: str, inputs: Mapping[str, np.ndarray], output_names: Sequence[str]
    ) -> dict[str, np.ndarray]:
        """Runs one signature; blocks, and may be called from several threads at once.

        Args:
            signature_name: A key of `signatures`.
            inputs: An array for every input of the signature, of the signature's dtype.
            output_names: The outputs to compute, keys of the signature's outputs.

        Returns:
            The outputs asked for, by name. Strings are object arrays of `bytes`.

        Raises:
            ServingError: The model doesn't take these inputs, or failed on them.
        """

    def close(self) -> None:
        """Lets go of the memory; nothing may run any more."""


@runtime_checkable
class GraphModel(Protocol):
    """A model whose signatures name the tensors of one graph: one run may serve several of them."""

    def run_tensors(self, feeds: Mapping[str, np.ndarray], fetches: Sequence[str]) -> dict[str, np.ndarray]:
        """Runs the graph; blocks, and may be called from several threads at once.

        Args:
            feeds: An array for each input, by its `tensor_name`.
            fetches: The `tensor_name` of each output to compute.

        Returns:
            The tensors of `fetches`, by name.

        Raises:
            ServingError: The model doesn't take these inputs, or failed on them.
        """


class Engine(Protocol):
    """A way of running models.

    Attributes:
        name: What the command line calls it.
        starts_threads: Whether loading a model starts threads that run it.
    """

    name: str
    starts_threads: bool

    def holds_model(self, path: Path) -> bool:
        """Whether `path` is a version folder of a kind that this engine can load, judged by the names of its files."""

    def load(self, path: Path) -> LoadedModel:
        """Loads the version folder `path`; blocks.

        Raises:
            ServingError: The folder can't be served, with the reason.
        """
