"""Loaded models for tests of ordering, cancelling and limits, where a real engine's timing would decide."""

import threading
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from serving.engines.base import LoadedModel
from serving.types import Explanation, Signature, TensorInfo

FLOAT = np.dtype(np.float32)


def signature(*, output_shape: tuple[int | None, ...] = (None, 1)) -> Signature:
    """x: (batch, any) float32 to y."""
    return Signature(
        inputs={"x": TensorInfo("x", FLOAT, (None, None), "x")},
        outputs={"y": TensorInfo("y", FLOAT, output_shape, "y")},
    )


class RecordingModel:
    """Answers y = function(x), notes the batches it was given, and waits for `gate` before each."""

    def __init__(
        self,
        function: Callable[[np.ndarray], np.ndarray] = lambda x: x.sum(axis=1, keepdims=True),
        *,
        output_shape: tuple[int | None, ...] = (None, 1),
        signature_names: Sequence[str] = ("serving_default", "explain", "explain_target"),
    ) -> None:
        self.signatures: Mapping[str, Signature] = {
            name: signature(output_shape=output_shape) for name in signature_names
        }
        self.explanation: Explanation | None = None
        self.provider = "test"
        self.refuses_non_finite = True
        self.batchable = True
        self.closed = False
        self.batches: list[np.ndarray] = []
        self.threads: list[int] = []
        self.gate = threading.Event()
        self.gate.set()
        self.entered = threading.Event()
        self._function = function

    def run(
        self, signature_name: str, inputs: Mapping[str, np.ndarray], output_names: Sequence[str]
    ) -> dict[str, np.ndarray]:
        self.batches.append(inputs["x"])
        self.threads.append(threading.get_ident())
        self.entered.set()
        if not self.gate.wait(10):
            raise TimeoutError("The test never opened the gate.")
        return dict.fromkeys(output_names, self._function(inputs["x"]))

    def close(self) -> None:
        self.closed = True

    def rows(self) -> list[list[float]]:
        """The first column of every batch that was run."""
        return [batch[:, 0].tolist() for batch in self.batches]


def as_loaded(model: RecordingModel) -> LoadedModel:
    """The model as the protocol sees it: mypy checks that it fits."""
    return model
