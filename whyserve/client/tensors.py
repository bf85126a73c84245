"""Answers of the explain signatures, as the bundle contract names their outputs, turned into attributions."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from serving.types import EXPLAIN_TARGET_SIGNATURE
from whyserve.client.base import PREDICTED, Answer, Attribution, ModelDescription, Target, Targets, label_of
from whyserve.errors import CommandError

RELEVANCE = "relevance"
AT_LAYER = "relevance_at_"
EXTRA_OUTPUTS = ("target", "explained_value", "conservation_gap")

# Takes a signature's name and inputs; gives the version that answered and the outputs.
Run = Callable[[str, Mapping[str, np.ndarray]], tuple[int | None, Mapping[str, np.ndarray]]]


def explain_with(
    run: Run,
    description: ModelDescription,
    inputs: Mapping[str, np.ndarray],
    *,
    target: Targets,
    top_k: int,
    contrast: Targets = None,
) -> Answer:
    """Explains a batch by the signature `explain_target`: once for each rank of the `top_k` highest scores.

    Args:
        run: Runs a signature.
        description: The model's metadata.
        inputs: Arrays by input name, batch first.
        target: What to explain, by index or label, for all examples or for each; -1 is the predicted class.
        top_k: How many of the highest scores to explain; only with `target` -1.
        contrast: What `target` is compared with, likewise: R(target) - R(contrast), for the pass is linear in its seed.

    Returns:
        Outputs and attributions.
    """
    rows = len(next(iter(inputs.values())))
    indices = _indices("target", target, rows, description)

    def ask(targets: np.ndarray) -> tuple[int | None, Mapping[str, np.ndarray]]:
        return run(EXPLAIN_TARGET_SIGNATURE, {**inputs, "target": targets})

    version, outputs = ask(indices)
    predictions = {name: array for name, array in outputs.items() if name in description.outputs}
    explained = description.explained_output or _explained_output(predictions, outputs["target"], indices)
    answers = [_attributions(outputs, description, explained)]
    if contrast is not None:
        _, others = ask(_indices("contrast", contrast, rows, description))
        answers = [list(map(_difference, answers[0], _attributions(others, description, explained)))]
    elif top_k > 1:
        answers += [
            _attributions(ask(targets)[1], description, explained)
            for targets in _next_targets(predictions.get(explained), outputs["target"], top_k)
        ]
    return Answer(description.name, version, predictions, list(zip(*answers, strict=True)))


def targets(asked: Targets) -> Sequence[Target]:
    """What was asked for as a sequence: one for all examples, one for each, or nothing."""
    if asked is None:
        return ()
    return (asked,) if isinstance(asked, int | str) else asked


def index_of(target: Target, class_labels: Sequence[str]) -> int:
    """The index of a class that is named by its index or label.

    Raises:
        CommandError: There is no such label, or the labels aren't known.
    """
    if isinstance(target, int):
        return target
    if target in class_labels:
        return class_labels.index(target)
    known = (
        f"one of {', '.join(class_labels)}" if class_labels else "an index: the labels of this model aren't known here"
    )
    raise CommandError(f"Expected a class, {known}. Received: '{target}'")


def _indices(name: str, asked: Targets, rows: int, description: ModelDescription) -> np.ndarray:  # (batch,) int32
    indices = [index_of(one, description.class_labels) for one in targets(asked)]
    if len(indices) == 1:
        indices *= rows
    if len(indices) != rows:
        raise CommandError(f"Expected one {name}, or one for each of {rows} examples. Received: {len(indices)}")
    return np.array(indices, np.int32)


def _explained_output(predictions: Mapping[str, np.ndarray], targets: np.ndarray, asked: np.ndarray) -> str:
    """The output whose scores are explained, where metadata don't tell: that whose highest ones are the predicted."""
    if len(predictions) == 1:
        return next(iter(predictions))
    predicted = asked == PREDICTED
    fitting = [
        name
        for name, scores in predictions.items()
        if predicted.any() and scores.ndim == 2 and np.array_equal(scores.argmax(axis=1)[predicted], targets[predicted])
    ]
    return fitting[0] if len(fitting) == 1 else ""


def _next_targets(
    scores: np.ndarray | None, predicted: np.ndarray, top_k: int
) -> list[np.ndarray]:  # each (batch,) int32
    """Targets of rank 2 to `top_k`: the scores in falling order without the predicted class."""
    if scores is None or scores.ndim != 2 or scores.shape[1] < 2:
        raise CommandError(
            "`--top-k` asks for several classes, but this model has one score an example. Leave `--top-k` out."
        )
    order = np.argsort(-scores, axis=1, kind="stable")  # (batch, classes)
    rest = np.stack([row[row != first] for row, first in zip(order, predicted, strict=True)])
    return [rest[:, rank].astype(np.int32) for rank in range(min(top_k - 1, rest.shape[1]))]


def _attributions(
    outputs: Mapping[str, np.ndarray], description: ModelDescription, explained: str
) -> list[Attribution]:
    """One attribution for each example of a batch."""
    relevance = relevance_by_input(outputs, list(description.inputs))
    layers = _relevance_by_layer(outputs, description)
    return [
        Attribution(
            index=int(target),
            label=label_of(int(target), description.class_labels),
            value=float(value),
            gap=float(gap),
            relevance={name: array[row] for name, array in relevance.items()},
            output=explained,
            layers={name: array[row] for name, array in layers.items()},
        )
        for row, (target, value, gap) in enumerate(zip(*(outputs[name] for name in EXTRA_OUTPUTS), strict=True))
    ]


def _difference(first: Attribution, second: Attribution) -> Attribution:
    """What speaks for the first class against the second."""
    return Attribution(
        index=first.index,
        label=first.label,
        value=first.value - second.value,
        gap=first.gap - second.gap,
        relevance={name: array - second.relevance[name] for name, array in first.relevance.items()},
        output=first.output,
        contrast=second.label,
        contrast_index=second.index,
        layers={name: array - second.layers[name] for name, array in first.layers.items()},
    )


def relevance_by_input(outputs: Mapping[str, np.ndarray], inputs: Sequence[str]) -> dict[str, np.ndarray]:
    """The relevance outputs by the input that each explains: `relevance` (one input) or `relevance_<input>`."""
    if RELEVANCE in outputs and len(inputs) == 1:
        return {inputs[0]: outputs[RELEVANCE]}
    return {name: outputs[f"{RELEVANCE}_{name}"] for name in inputs if f"{RELEVANCE}_{name}" in outputs}


def _relevance_by_layer(outputs: Mapping[str, np.ndarray], description: ModelDescription) -> dict[str, np.ndarray]:
    """The relevance at inner layers; under the outputs' own names where metadata don't tell the layers'."""
    inputs = {f"{RELEVANCE}_{name}" for name in description.inputs} if len(description.inputs) > 1 else set()
    found = [name for name in outputs if name.startswith(AT_LAYER) and name not in inputs]
    layers = {output: layer for layer, output in description.layers.items()}
    return {layers.get(name, name.removeprefix(AT_LAYER)): outputs[name] for name in found}
