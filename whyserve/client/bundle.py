"""Asks a bundle without a server, through the same ONNX engine that a server uses."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from export.manifest import load_manifest
from export.vocabulary import read_vocabulary
from serving.engines.onnxruntime import OnnxRuntimeEngine
from serving.types import DEFAULT_SIGNATURE
from whyserve.client.base import PREDICTED, Answer, ModelDescription, Targets
from whyserve.client.tensors import explain_with, index_of, targets
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
        file = self._manifest.vocabulary
        self._vocabulary = read_vocabulary(folder / file) if file else None
        self._model = OnnxRuntimeEngine().load(folder)

    def describe(self) -> ModelDescription:
        """The model's metadata."""
        signature, explanation = self._model.signatures[DEFAULT_SIGNATURE], self._manifest.explanation
        return ModelDescription(
            name=self._manifest.name,
            version=self._manifest.version,
            inputs=signature.inputs,
            outputs=signature.outputs,
            class_labels=self._manifest.class_labels,
            explained_output="" if explanation is None else explanation.output,
            layers={} if explanation is None else explanation.layers,
            vocabulary=self._vocabulary,
        )

    def predict(self, inputs: Mapping[str, np.ndarray]) -> Answer:
        """The model's outputs for a batch."""
        version, outputs = self._run(DEFAULT_SIGNATURE, inputs)
        return Answer(self._manifest.name, version, outputs)

    def explain(
        self, inputs: Mapping[str, np.ndarray], *, target: Targets = PREDICTED, contrast: Targets = None, top_k: int = 1
    ) -> Answer:
        """Outputs and attributions: of `target` (against `contrast`), or of the `top_k` highest scores."""
        explanation = self._model.explanation
        if explanation is None:
            raise CommandError(f"{self.place} was exported with --no-explain: it holds predictions only.")
        num_targets = explanation.num_targets
        for name, asked in (("target", target), ("contrast", contrast)):
            for one in targets(asked):
                index = index_of(one, self._manifest.class_labels)
                if num_targets is not None and not PREDICTED <= index < num_targets:
                    raise CommandError(
                        f"Expected a {name} from 0 to {num_targets - 1}, or -1 for the predicted class. "
                        f"Received: {index}"
                    )
        return explain_with(self._run, self.describe(), inputs, target=target, contrast=contrast, top_k=top_k)

    def close(self) -> None:
        """Lets go of the model's memory."""
        self._model.close()

    def _run(self, signature_name: str, inputs: Mapping[str, np.ndarray]) -> tuple[int, Mapping[str, np.ndarray]]:
        for name, array in inputs.items():
            if self._model.refuses_non_finite and array.dtype.kind == "f" and not np.isfinite(array).all():
                raise CommandError(f"Expected finite numbers in input '{name}'. Received: NaN or infinity")
        names = list(self._model.signatures[signature_name].outputs)
        return self._manifest.version, self._model.run(signature_name, inputs, names)
