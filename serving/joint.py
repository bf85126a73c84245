"""Several signatures of one model as a single call, where one run of its graph can serve them all."""

from collections.abc import Mapping, Sequence

import numpy as np

from serving.engines.base import GraphModel
from serving.types import Signature

Arrays = Mapping[str, np.ndarray]


class JointModel:
    """Runs a graph by the names of its tensors, as `serving.batch.Call` runs a model by those of a signature.

    Args:
        model: The model that the signatures belong to.
    """

    def __init__(self, model: GraphModel) -> None:
        self._model = model

    def run(self, _signature_name: str, inputs: Arrays, output_names: Sequence[str], /) -> dict[str, np.ndarray]:
        """Runs the graph; see `GraphModel.run_tensors`."""
        return self._model.run_tensors(inputs, output_names)


def join_signatures(signatures: Mapping[str, Signature]) -> Signature:
    """One signature of the inputs and outputs of several, under the names of their tensors."""
    inputs = [info for signature in signatures.values() for info in signature.inputs.values()]
    outputs = [info for signature in signatures.values() for info in signature.outputs.values()]
    return Signature({info.tensor_name: info for info in inputs}, {info.tensor_name: info for info in outputs})


def join_inputs(signatures: Mapping[str, Signature], inputs: Mapping[str, Arrays]) -> dict[str, np.ndarray] | None:
    """What each tensor is fed, or None where two signatures would feed one tensor with different arrays."""
    joined: dict[str, np.ndarray] = {}
    for signature_name, arrays in inputs.items():
        for name, array in arrays.items():
            if joined.setdefault(signatures[signature_name].inputs[name].tensor_name, array) is not array:
                return None
    return joined
