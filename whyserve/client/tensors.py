"""Answers of the explain signatures, as the bundle contract names their outputs, turned into attributions."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from serving.types import EXPLAIN_TARGET_SIGNATURE
from whyserve.client.base import PREDICTED, Answer, Attribution, ModelDescription, label_of
from whyserve.errors import CommandError

RELEVANCE = "relevance"
EXTRA_OUTPUTS = ("target", "explained_value", "conservation_gap")

# Takes a signature's name and inputs; gives the version that answered and the outputs.
Run = Callable[[str, Mapping[str, np.ndarray]], tuple[int | None, Mapping[str, np.ndarray]]]


def explain_with(
    run: Run, description: ModelDescription, inputs: Mapping[str, np.ndarray], *, target: int, top_k: int
) -> Answer:
    """Explains a batch by the signature `explain_target`: once for each rank of the `top_k` highest scores.

    Args:
        run: Runs a signature.
        description: The model's metadata.
        inputs: Arrays by input name, batch first.
        target: The index to explain in every example; -1 is the predicted class.
        top_k: How many of the highest scores to explain; only with `target` -1.

    Returns:
        Outputs and attributions.
    """
    rows = len(next(iter(inputs.values())))
    targets = np.full(rows, target, np.int32)
    version, outputs = run(EXPLAIN_TARGET_SIGNATURE, {**inputs, "target": targets})
    answers = [_attributions(outputs, description)]
    predictions = {name: array for name, array in outputs.items() if name in description.outputs}
    if target == PREDICTED and top_k > 1:
        answers += [
            _attributions(run(EXPLAIN_TARGET_SIGNATURE, {**inputs, "target": targets})[1], description)
            for targets in _next_targets(predictions, outputs["target"], top_k)
        ]
    return Answer(description.name, version, predictions, list(zip(*answers, strict=True)))


def _next_targets(
    predictions: Mapping[str, np.ndarray], predicted: np.ndarray, top_k: int
) -> list[np.ndarray]:  # each (batch,) int32
    """Targets of rank 2 to `top_k`: the scores in falling order without the predicted class."""
    scores = next((array for array in predictions.values() if array.ndim == 2 and array.shape[1] > 1), None)
    if scores is None:
        raise CommandError(
            "`--top-k` asks for several classes, but this model has one score an example. Leave `--top-k` out."
        )
    order = np.argsort(-scores, axis=1, kind="stable")  # (batch, classes)
    rest = np.stack([row[row != first] for row, first in zip(order, predicted, strict=True)])
    return [rest[:, rank].astype(np.int32) for rank in range(min(top_k - 1, rest.shape[1]))]


def _attributions(outputs: Mapping[str, np.ndarray], description: ModelDescription) -> Sequence[Attribution]:
    """One attribution for each example of a batch."""
    relevance = relevance_by_input(outputs, list(description.inputs))
    return [
        Attribution(
            index=int(target),
            label=label_of(int(target), description.class_labels),
            value=float(value),
            gap=float(gap),
            relevance={name: array[row] for name, array in relevance.items()},
        )
        for row, (target, value, gap) in enumerate(zip(*(outputs[name] for name in EXTRA_OUTPUTS), strict=True))
    ]


def relevance_by_input(outputs: Mapping[str, np.ndarray], inputs: Sequence[str]) -> dict[str, np.ndarray]:
    """The relevance outputs by the input that each explains: `relevance` (one input) or `relevance_<input>`."""
    if RELEVANCE in outputs and len(inputs) == 1:
        return {inputs[0]: outputs[RELEVANCE]}
    return {name: outputs[f"{RELEVANCE}_{name}"] for name in inputs if f"{RELEVANCE}_{name}" in outputs}
