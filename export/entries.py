"""What the manifest says of traced signatures and of the explainer."""

from typing import Any

from export.errors import SourceError
from export.manifest import EXPLAIN_SIGNATURE, PREDICT_SIGNATURE, ExplanationEntry, SignatureEntry, TensorEntry
from export.onnx import onnx_names
from export.saved_model import TARGET, Signature, tensor_specs

PREDICT_FILE = "predict.onnx"
EXPLAIN_FILE = "explain.onnx"


def signature_entry(name: str, signature: Signature) -> SignatureEntry:
    """The entry of one signature, with the ONNX file that answers it and its names in there."""
    # One file answers both explain signatures: it has the inputs of explain_target.
    inputs = {*signature.inputs, TARGET} if name == EXPLAIN_SIGNATURE else set(signature.inputs)
    names = onnx_names(inputs, list(signature.outputs))
    return SignatureEntry(
        tuple(TensorEntry(*spec, onnx_name=spec[0]) for spec in tensor_specs(signature.inputs)),
        tuple(TensorEntry(*spec, onnx_name=names[spec[0]]) for spec in tensor_specs(signature.outputs)),
        PREDICT_FILE if name == PREDICT_SIGNATURE else EXPLAIN_FILE,
    )


def explanation_entry(explainer: Any, outputs: tuple[TensorEntry, ...]) -> ExplanationEntry:
    """How the explain signatures are to be read.

    Args:
        explainer: What `explain.build_explainer` returned.
        outputs: Outputs of the explain signatures.
    """
    names = {tensor.name for tensor in outputs}
    relevance = {name: f"relevance_{name}" if len(explainer.inputs) > 1 else "relevance" for name in explainer.inputs}
    return ExplanationEntry(
        output=explainer.explained_output,
        num_targets=explainer.num_targets,
        relevance={name: output for name, output in relevance.items() if output in names},
        composite=explainer.composite,
        reason=explainer.composite_reason,
        epsilon=explainer.epsilon,
        bias=explainer.bias,
        rules=tuple(explainer.rules),
        explained=explainer.explained,
        layers=dict(explainer.layer_outputs),
    )


def check_labels(labels: tuple[str, ...], outputs: tuple[TensorEntry, ...], num_targets: int | None) -> tuple[str, ...]:
    """The class labels, once it is sure that there is one for each score.

    Args:
        labels: From the run folder; empty where they are not known.
        outputs: The model's outputs.
        num_targets: Number of scores of the explained output; None where nothing is explained.

    Raises:
        SourceError: There are more or fewer labels than scores.
    """
    size = num_targets
    if size is None and len(outputs) == 1 and outputs[0].shape:
        size = outputs[0].shape[-1]
    if labels and size is not None and len(labels) != size:
        raise SourceError(
            f"The run must have one class label for each of the model's {size} scores. Received: {list(labels)}."
        )
    return labels
