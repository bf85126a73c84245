"""`:explain`: attributions in the form of Vertex AI's, from the signatures `explain` and `explain_target`."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from serving.errors import Code, ServingError, invalid_argument
from serving.rest.encode import to_rows
from serving.rest.explain_parameters import Parameters, read_parameters, target_indices
from serving.rest.json_text import show
from serving.types import (
    DEFAULT_SIGNATURE,
    EXPLAIN_SIGNATURE,
    EXPLAIN_TARGET_SIGNATURE,
    Explanation,
    ModelSpec,
    Prediction,
    Signature,
)

TARGET_INPUT = "target"

# Outputs of the explain signatures beside those of the prediction and the relevance (DESIGN.md, section 3).
TARGET, VALUE, GAP = "target", "explained_value", "conservation_gap"
# What an answer to a contrastive request has besides: the index of the class that the other is compared with.
CONTRAST = "contrast"

# An explained value of 0 has no relative error: values below this one count as this one.
SMALLEST_VALUE = 1e-6

Arrays = Mapping[str, np.ndarray]
Predict = Callable[[ModelSpec, Arrays], Awaitable[Prediction]]


@dataclass(frozen=True)
class Explained:
    """The answer to an explain request, before it is JSON.

    Args:
        spec: What answered.
        outputs: The prediction's outputs.
        explanations: One object for each instance.
    """

    spec: ModelSpec
    outputs: dict[str, np.ndarray]
    explanations: list[dict[str, Any]]


@dataclass(frozen=True)
class Explainer:
    """One explain request.

    Args:
        spec: The model, its version filled in.
        signatures: The model's signatures.
        explanation: How they are to be read.
        predict: The data plane's method, with the request's time limit.
    """

    spec: ModelSpec
    signatures: Mapping[str, Signature]
    explanation: Explanation
    predict: Predict

    async def explain(self, inputs: Arrays, parameters: Any) -> Explained:
        """Runs the request.

        Args:
            inputs: The inputs of the signature `explain`.
            parameters: The body's member `parameters`, whatever it holds; None where there is none.

        Raises:
            ServingError: INVALID_ARGUMENT for wrong parameters, and what the data plane raises.
        """
        answers = await self.answers(inputs, parameters)
        columns = [self._attributions(answer.outputs) for answer in answers]
        explanations = [{"attributions": list(row)} for row in zip(*columns, strict=True)]
        return Explained(answers[0].spec, self._predictions(answers[0].outputs), explanations)

    async def answers(self, inputs: Arrays, parameters: Any) -> list[Prediction]:
        """The same request as arrays: one answer of an explain signature for each class that is explained.

        The pass is linear in its seed, so what speaks for class a against class b is R(a) - R(b): the difference of two
        answers, explained value and gap included. Its output `contrast` holds the index of b.

        Args:
            inputs: As for `explain`.
            parameters: As for `explain`.

        Raises:
            ServingError: As `explain`.
        """
        asked = read_parameters(parameters)
        batch = _batch_size(inputs)
        if asked.contrast is not None:
            return [await self._explain_contrast(inputs, asked, batch)]
        first = await self._explain_first(inputs, asked, batch)
        return [first, *await self._explain_further(inputs, first, asked.top_k)]

    def _spec(self, signature_name: str) -> ModelSpec:
        return replace(self.spec, signature_name=signature_name)

    def _explain_first(self, inputs: Arrays, asked: Parameters, batch: int) -> Awaitable[Prediction]:
        if asked.target is None:
            return self.predict(self._spec(EXPLAIN_SIGNATURE), inputs)
        return self._explain_targets(inputs, target_indices("target", asked.target, batch, self.explanation))

    async def _explain_contrast(self, inputs: Arrays, asked: Parameters, batch: int) -> Prediction:
        """One class against another; the data plane batches the two rows of an instance together."""
        others = target_indices("contrast", asked.contrast, batch, self.explanation)
        if asked.target is not None:
            targets = target_indices("target", asked.target, batch, self.explanation)
            _refuse_equal(targets, others)
        first, second = await _all(
            [
                self._explain_first(inputs, asked, batch),
                self._explain_targets(inputs, others),
            ]
        )
        subtracted = (VALUE, GAP, *self.explanation.relevance.values(), *self.explanation.layers.values())
        differences = {name: first.outputs[name] - second.outputs[name] for name in subtracted}
        outputs = {**first.outputs, **differences, CONTRAST: second.outputs[TARGET]}
        return replace(first, outputs=outputs)

    async def _explain_targets(self, inputs: Arrays, targets: np.ndarray) -> Prediction:
        return await self.predict(self._spec(EXPLAIN_TARGET_SIGNATURE), {**inputs, TARGET_INPUT: targets})

    async def _explain_further(self, inputs: Arrays, first: Prediction, top_k: int) -> Sequence[Prediction]:
        """The classes behind the predicted one, in the order of their scores; the data plane batches them together."""
        if top_k == 1:
            return ()
        name = self.explanation.output_name
        scores = first.outputs.get(name)
        if scores is None or scores.ndim != 2:
            raise invalid_argument(
                f"`top_k` needs an output with one score for each class. Received: top_k={top_k}, and the explained "
                f"output {name!r} has none. Leave `top_k` out."
            )
        num_classes = scores.shape[1]
        if top_k > num_classes:
            raise invalid_argument(
                f"`top_k` must lie in [1, {num_classes}], or be -1 for all classes. Received: top_k={top_k}."
            )
        ranked = np.argsort(-scores, axis=1, kind="stable").astype(np.int32)  # (batch, classes)
        last = num_classes if top_k < 0 else top_k
        return await _all([self._explain_targets(inputs, ranked[:, rank]) for rank in range(1, last)])

    def _predictions(self, outputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        default = self.signatures.get(DEFAULT_SIGNATURE)
        if default is not None:
            return {name: outputs[name] for name in default.outputs if name in outputs}
        own = {TARGET, VALUE, GAP, CONTRAST, *self.explanation.relevance.values(), *self.explanation.layers.values()}
        return {name: array for name, array in outputs.items() if name not in own}

    def _attributions(self, outputs: Mapping[str, np.ndarray]) -> list[dict[str, Any]]:
        """One attribution for each instance."""
        labels = self.explanation.class_labels
        values = outputs[VALUE].astype(np.float64)
        errors = np.abs(outputs[GAP].astype(np.float64)) / np.maximum(np.abs(values), SMALLEST_VALUE)
        features = {name: to_rows(outputs[relevance]) for name, relevance in self.explanation.relevance.items()}
        layers = {name: to_rows(outputs[relevance]) for name, relevance in self.explanation.layers.items()}
        contrasts = outputs[CONTRAST].tolist() if CONTRAST in outputs else None
        rows = zip(outputs[TARGET].tolist(), to_rows(outputs[VALUE]), to_rows(errors), strict=True)
        return [
            {
                "outputName": self.explanation.output_name,
                "outputIndex": [target],
                **({"outputDisplayName": labels[target]} if target < len(labels) else {}),
                **({} if contrasts is None else _contrast(contrasts[index], labels)),
                "instanceOutputValue": value,
                "baselineOutputValue": 0.0,
                "approximationError": error,
                "featureAttributions": {name: relevance[index] for name, relevance in features.items()},
                **({"layerAttributions": {name: row[index] for name, row in layers.items()}} if layers else {}),
            }
            for index, (target, value, error) in enumerate(rows)
        ]


def explained_signature(
    spec: ModelSpec, signatures: Mapping[str, Signature], explanation: Explanation | None
) -> tuple[Signature, Explanation]:
    """The signature that takes the inputs of an explain request, and how to read its answer.

    Raises:
        ServingError: INVALID_ARGUMENT where the request names another signature than `serving_default`,
            FAILED_PRECONDITION where the model has no explanations.
    """
    if spec.signature_name not in ("", DEFAULT_SIGNATURE, EXPLAIN_SIGNATURE):
        raise invalid_argument(
            f"Signature {DEFAULT_SIGNATURE!r} is the one that is explained. Received: signature_name="
            f"{show(spec.signature_name)}. Leave it out, and put the class into 'parameters': {{'target': ...}}."
        )
    if explanation is None or EXPLAIN_SIGNATURE not in signatures:
        raise ServingError(
            Code.FAILED_PRECONDITION,
            f"Model {spec.name!r} version {spec.version} has no explanations: it was exported without them. "
            "Export it without --no-explain, or ask for a prediction with ':predict'.",
        )
    return signatures[EXPLAIN_SIGNATURE], explanation


def _contrast(index: int, labels: Sequence[str]) -> dict[str, Any]:
    named = {"contrastDisplayName": labels[index]} if index < len(labels) else {}
    return {"contrastIndex": [index], **named}


def _refuse_equal(targets: np.ndarray, others: np.ndarray) -> None:
    equal = np.flatnonzero(targets == others)
    if len(equal):
        raise invalid_argument(
            "`target` and `contrast` must be two classes. Received: "
            f"{targets[equal[0]]} for both of instance {equal[0]}. Leave `contrast` out to explain one class."
        )


def _batch_size(inputs: Arrays) -> int:
    sizes = {name: array.shape[0] if array.ndim else None for name, array in inputs.items()}
    if None in sizes.values() or len(set(sizes.values())) != 1:
        raise invalid_argument(
            f"Inputs must have one first dimension in common, the instances. Received: "
            f"{', '.join(f'{name} of shape {list(array.shape)}' for name, array in inputs.items())}."
        )
    return int(next(iter(inputs.values())).shape[0])


async def _all(awaitables: Sequence[Awaitable[Prediction]]) -> list[Prediction]:
    """The results in order. When one fails the others are cancelled, and leave their queue."""
    tasks = [asyncio.ensure_future(awaitable) for awaitable in awaitables]
    try:
        return await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
