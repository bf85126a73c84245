"""Asks a bundle without a server, through the same ONNX engine that a server uses."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from export.manifest import load_manifest
from serving.engines.onnxruntime import OnnxRuntimeEngine
from serving.types import DEFAULT_SIGNATURE
from whyserve.client.base import PREDICTED, Answer, ModelDescription
from whyserve.client.tensors import explain_with
from whyserve.errors import CommandError
from whyserve.versions import newest_version


class BundleClient:
    """Asks a bundle without a server.

    Args:
        path: The version folder, or the folder of a model, whose newest version is taken.
    """

    def __init__(self, path: Path) -> None:
        folder = newest_version(path)
        self.place = str(folder)
        self._manifest = load_manifest(folder)
        self._model = OnnxRuntimeEngine().load(folder)

    def describe(self) -> ModelDescription:
        """The model's metadata."""
        signature = self._model.signatures[DEFAULT_SIGNATURE]
        return ModelDescription(
            name=self._manifest.name,
            version=self._manifest.version,
            inputs=signature.inputs,
            outputs=signature.outputs,
            class_labels=self._manifest.class_labels,
        )

    def predict(self, inputs: Mapping[str, np.ndarray]) -> Answer:
        """The model's outputs for a batch."""
        version, outputs = self._run(DEFAULT_SIGNATURE, inputs)
        return Answer(self._manifest.name, version, outputs)

    def explain(self, inputs: Mapping[str, np.ndarray], *, target: int = PREDICTED, top_k: int = 1) -> Answer:
        """Outputs and attributions: of `target`, or of the `top_k` highest scores, the predicted class first."""
        explanation = self._model.explanation
        if explanation is None:
            raise CommandError(f"{self.place} was exported with --no-explain: it holds predictions only.")
        if explanation.num_targets is not None and not PREDICTED <= target < explanation.num_targets:
            raise CommandError(
                f"Expected a target from 0 to {explanation.num_targets - 1}, or -1 for the predicted class. "
                f"Received: {target}"
            )
        return explain_with(self._run, self.describe(), inputs, target=target, top_k=top_k)

    def close(self) -> None:
        """Lets go of the model's memory."""
        self._model.close()

    def _run(self, signature_name: str, inputs: Mapping[str, np.ndarray]) -> tuple[int, Mapping[str, np.ndarray]]:
        for name, array in inputs.items():
            if self._model.refuses_non_finite and array.dtype.kind == "f" and not np.isfinite(array).all():
                raise CommandError(f"Expected finite numbers in input '{name}'. Received: NaN or infinity")
        names = list(self._model.signatures[signature_name].outputs)
        return self._manifest.version, self._model.run(signature_name, inputs, names)
