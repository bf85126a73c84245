"""The manifest for people: `MODEL_CARD.md`, after Mitchell et al. 2019, "Model Cards for Model Reporting"."""

import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from export.manifest import ExplanationEntry, Manifest, TensorEntry

CARD_FILE = "MODEL_CARD.md"
_METRICS = ("accuracy", "precision", "recall", "f1", "roc_auc", "loss")


def write_model_card(directory: Path, manifest: Manifest) -> Path:
    """Write the card into the bundle's folder."""
    path = directory / CARD_FILE
    path.write_text(model_card(manifest), encoding="utf-8")
    return path


def model_card(manifest: Manifest) -> str:
    """The card as Markdown. What is not known of a model is said to be not known."""
    sections = [
        f"# {manifest.name}, version {manifest.version}",
        _purpose(manifest),
        "## Inputs and outputs\n\n" + _tensors(manifest) + f"\n\nPreprocessing: {manifest.preprocessing}",
        "## Data and training\n\n" + _training(manifest.provenance),
        "## Metrics\n\n" + _metrics(manifest.provenance.get("metrics")),
        "## Explanations\n\n" + _explanations(manifest),
        "## Limits\n\n" + _limits(manifest),
        "## Checks before publication\n\n" + _checks(manifest),
    ]
    return "\n\n".join(sections) + "\n"


def _purpose(manifest: Manifest) -> str:
    task = manifest.task if manifest.task != "unknown" else "a task that its file doesn't tell"
    labels = (
        f" It tells apart {len(manifest.class_labels)} classes: {', '.join(manifest.class_labels)}."
        if manifest.class_labels
        else ""
    )
    return f"A {manifest.architecture} model for {task}, exported {manifest.created} by Whyserve.{labels}"


def _tensors(manifest: Manifest) -> str:
    rows = [("input", entry) for entry in manifest.inputs] + [("output", entry) for entry in manifest.outputs]
    return _table(("", "name", "dtype", "shape"), [(kind, f"`{e.name}`", e.dtype, _shape(e)) for kind, e in rows])


def _shape(entry: TensorEntry) -> str:
    if entry.shape is None:
        return "any"
    return "(" + ", ".join("any" if size is None else str(size) for size in entry.shape) + ")"


def _training(provenance: dict[str, Any]) -> str:
    data = provenance.get("data")
    source = provenance.get("source", {})
    lines = [f"Source: `{source.get('file', 'unknown')}`, SHA-256 `{source.get('sha256', 'unknown')}`."]
    if data:
        sizes = ", ".join(f"{size} {part}" for part, size in data.get("sizes", {}).items())
        lines.append(
            f"Data: {data.get('name')} ({data.get('source')}), SHA-256 `{data.get('digest')}`; examples: {sizes}."
        )
        lines.append(f"Seed: {provenance.get('seed')}.")
    else:
        lines.append("Data: not known; the model came as a file without its training.")
    lines += [f"Note: {note}." for note in provenance.get("notes", ())]
    packages = ", ".join(f"{name} {version}" for name, version in sorted(provenance.get("packages", {}).items()))
    return "\n".join([*lines, f"Exported with {packages}."])


def _metrics(metrics: dict[str, Any] | None) -> str:
    known = metrics or {}
    measured = [(name, f"{known[name]:.4g}") for name in _METRICS if _is_number(known.get(name))]
    if not measured:
        return "Not known."
    return f"On {known.get('num_examples', 'the')} held-out test examples:\n\n" + _table(("metric", "value"), measured)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)


def _explanations(manifest: Manifest) -> str:
    explanation = manifest.explanation
    if explanation is None:
        return "This bundle predicts only; it was exported without explanations."
    method = (
        f"Layer-wise relevance propagation (Bach et al. 2015), composite `{explanation.composite}` "
        f"({explanation.reason}), epsilon {explanation.epsilon:g}, biases: {explanation.bias}."
    )
    rules = [(rule.get("layer"), rule.get("operation"), rule.get("rule")) for rule in explanation.rules]
    return "\n\n".join([method, _reading(explanation), _table(("layer", "operation", "rule"), rules)])


def _reading(explanation: ExplanationEntry) -> str:
    outputs = ", ".join(f"`{output}` explains input `{name}`" for name, output in explanation.relevance.items())
    is_value = explanation.explained == "output" and explanation.num_targets == 1
    signs = (
        "Positive values raise the output, negative ones lower it."
        if is_value
        else "Positive values speak for the class, negative ones against it."
    )
    score = "the score of `{}` before softmax or sigmoid" if explanation.explained == "logit" else "the value of `{}`"
    text = (
        f"How to read them: {outputs}, element by element. {signs} They add up to `explained_value`, "
        f"{score.format(explanation.output)}, but for `conservation_gap`, which biases and stabilizers absorbed."
    )
    if not is_value:
        text += (
            " `explain` explains the predicted class; `explain_target` takes the index of another one in `target` (-1 "
            "is the predicted class)."
        )
    layers = ", ".join(f"`{output}` that of layer `{layer}`" for layer, output in explanation.layers.items())
    return f"{text} Relevance at inner layers: {layers}." if layers else text


def _limits(manifest: Manifest) -> str:
    lines = [
        "- Predictions hold for inputs like those of the training data; nothing here measures how others fare.",
        "- Relevance says what this model used, not what causes the outcome in the world.",
    ]
    return "\n".join(lines if manifest.explanation else lines[:1])


def _checks(manifest: Manifest) -> str:
    parity = manifest.parity
    worst = max((c["relative"] for c in parity.get("comparisons", ())), default=0.0)
    text = (
        f"Parity on {parity.get('samples')} inputs, {parity.get('cases')} calls, reference {parity.get('reference')}: "
        f"the largest difference of an element is {worst:.1e} of its output's largest magnitude."
    )
    if manifest.conservation:
        text += (
            f"\nConservation, {len(manifest.conservation['steps'])} steps: at most "
            f"{manifest.conservation['residual']:.1e} of the relevance is unaccounted for in any step."
        )
    return text


def _table(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(str(cell) for cell in line) + " |" for line in lines)
