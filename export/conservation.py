"""Conservation: what each step of the relevance pass receives equals what it passes on and what it absorbs.

For every step and example: relevance_out = relevance_in + absorbed_bias + absorbed_stabilizer, up to rounding.
"""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from explain.conservation import accounts
from export.errors import ConservationError, ConversionError
from export.saved_model import PREDICTED_CLASS

# Sums of single-precision relevance that cancel keep about this much of the largest amount in the pass.
TOLERANCE = 1e-4
_TERMS = ("relevance_in", "absorbed_bias", "absorbed_stabilizer")

AuditFunction = Callable[[Mapping[str, np.ndarray], np.ndarray], dict[str, np.ndarray]]


@dataclass(frozen=True)
class StepReport:
    """One step of the pass, in the order from the output to the inputs.

    Args:
        step: Position, layer, operation and rule.
        relevance_out, relevance_in, absorbed_bias, absorbed_stabilizer: Means over the examples.
        residual: The largest that is unaccounted for, as a part of the largest amount in the pass of that example.
        relevance_within: The part of `relevance_in` that goes to other steps of the same layer.
    """

    step: str
    relevance_out: float
    relevance_in: float
    absorbed_bias: float
    absorbed_stabilizer: float
    residual: float
    relevance_within: float = 0.0


@dataclass(frozen=True)
class LayerReport:
    """The account of one layer: its steps together, without what they pass among themselves.

    Args:
        layer: Its name.
        operations: Its operations that relevance passed, in the order of the pass.
        rules: Their rules, each once; empty where no operation of it has weights.
        relevance_out: What arrived at its outputs, from the layers above; the mean over the examples.
        absorbed_bias, absorbed_stabilizer: What stayed.
        relevance_in: What left at its inputs, to the layers below.
        residual: The worst of its steps.
    """

    layer: str
    operations: tuple[str, ...]
    rules: tuple[str, ...]
    relevance_out: float
    absorbed_bias: float
    absorbed_stabilizer: float
    relevance_in: float
    residual: float


@dataclass(frozen=True)
class ConservationReport:
    """All steps, the layers that they belong to, and the worst residual."""

    tolerance: float
    residual: float
    examples: int
    steps: tuple[StepReport, ...]
    layers: tuple[LayerReport, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Ready for JSON."""
        return dataclasses.asdict(self)


def saved_audit(directory: Path, inputs: Sequence[str]) -> AuditFunction:
    """The audit that a bundle's SavedModel holds.

    Args:
        directory: The bundle's folder.
        inputs: Names of the model's inputs, in the manifest's order.

    Raises:
        ConversionError: The SavedModel has none, or can't be loaded.
    """
    try:
        with tf.device("/CPU:0"):
            root = tf.saved_model.load(str(directory))
        root.audit  # noqa: B018 - looked up here, where its absence is told
    except (AttributeError, OSError, ValueError, KeyError, tf.errors.OpError) as error:
        raise ConversionError(f"The SavedModel in {directory} has no audit of its relevance pass: {error}") from error

    def audit(arrays: Mapping[str, np.ndarray], target: np.ndarray) -> dict[str, np.ndarray]:
        tensors = [tf.constant(arrays[name]) for name in inputs]
        sums = root.audit(*tensors, tf.constant(target, tf.int32))  # root owns the variables
        return accounts({name: value.numpy() for name, value in sums.items()}, len(target))

    return audit


def check_conservation(audit: AuditFunction, batches: Sequence[Mapping[str, np.ndarray]]) -> ConservationReport:
    """Recompute the accounts of every step.

    Args:
        audit: Returns the accounts of a batch, `<step>/<what>` to float `(batch,)`.
        batches: Inputs by name.

    Raises:
        ConservationError: A step creates or loses relevance beyond rounding.
    """
    accounts = [_steps(audit(batch, _predicted(batch))) for batch in batches]
    steps = tuple(_report(step, accounts) for step in accounts[0])
    broken = [step for step in steps if not step.residual <= TOLERANCE]
    if broken:
        worst = max(broken, key=lambda step: step.residual)
        raise ConservationError(
            f"Each step of the relevance pass must account for the relevance it receives. {len(broken)} of "
            f"{len(steps)} don't; "
            f"the worst is {worst.step!r}: {worst.residual:.1e} of the largest amount is unaccounted for, tolerance "
            f"{TOLERANCE:.0e} "
            f"(received {worst.relevance_out:.6g}, passed on {worst.relevance_in:.6g}, bias {worst.absorbed_bias:.3g}, "
            f"stabilizer {worst.absorbed_stabilizer:.3g} on average)."
        )
    residual = max((step.residual for step in steps), default=0.0)
    examples = sum(len(_first(batch)) for batch in batches)
    return ConservationReport(TOLERANCE, residual, examples, steps, layer_reports(steps))


def layer_reports(steps: Sequence[StepReport]) -> tuple[LayerReport, ...]:
    """The accounts of the layers, in the order in which relevance first reaches them.

    Args:
        steps: Steps by the names of the audit, `<position>/<layer>/<operation>/<rule>`.
    """
    layers: dict[str, list[StepReport]] = {}
    for step in steps:
        layers.setdefault(step.step.split("/")[1], []).append(step)
    return tuple(_layer_report(layer, own) for layer, own in layers.items())


def check_recorded(report: ConservationReport, recorded: Mapping[str, Any]) -> None:
    """Hold the layers' accounts against those that the manifest kept when the bundle was made, of the same examples.

    Raises:
        ConservationError: A layer is missing, or an amount differs beyond rounding.
    """
    before = {layer["layer"]: layer for layer in recorded.get("layers", ())}
    if not before:  # made by a release that kept steps only
        return
    now = {layer.layer: dataclasses.asdict(layer) for layer in report.layers}
    amounts = ("relevance_out", *_TERMS)
    scale = max((abs(layer[what]) for layer in before.values() for what in amounts), default=0.0)
    different = [
        f"{layer} ({what} {before[layer][what]:.6g}, now {now[layer][what]:.6g})"
        for layer in before.keys() & now.keys()
        for what in amounts
        if not abs(before[layer][what] - now[layer][what]) <= report.tolerance * scale
    ]
    different += [f"{layer} (in one of them only)" for layer in sorted(before.keys() ^ now.keys())]
    if different:
        raise ConservationError(
            "The accounts of the layers must be those that the manifest recorded when the bundle was made, tolerance "
            f"{report.tolerance:.0e} of the largest amount. They differ: {'; '.join(sorted(different)[:3])}"
            f"{f' and {len(different) - 3} more' if len(different) > 3 else ''}. Export the model again."
        )


def _layer_report(layer: str, steps: Sequence[StepReport]) -> LayerReport:
    within = sum(step.relevance_within for step in steps)
    parts = [step.step.split("/") for step in steps]
    return LayerReport(
        layer=layer,
        operations=tuple(part[2] for part in parts),
        rules=tuple(dict.fromkeys(part[3] for part in parts if part[3])),
        relevance_out=sum(step.relevance_out for step in steps) - within,
        absorbed_bias=sum(step.absorbed_bias for step in steps),
        absorbed_stabilizer=sum(step.absorbed_stabilizer for step in steps),
        relevance_in=sum(step.relevance_in for step in steps) - within,
        residual=max(step.residual for step in steps),
    )


def _first(batch: Mapping[str, np.ndarray]) -> np.ndarray:
    return next(iter(batch.values()))


def _predicted(batch: Mapping[str, np.ndarray]) -> np.ndarray:
    return np.full(len(_first(batch)), PREDICTED_CLASS, np.int32)


def _steps(audited: Mapping[str, np.ndarray]) -> dict[str, dict[str, np.ndarray]]:
    """Accounts by step, in the order of the pass."""
    steps: dict[str, dict[str, np.ndarray]] = {}
    for key in sorted(audited):
        step, _, what = key.rpartition("/")
        steps.setdefault(step, {})[what] = audited[key].astype(np.float64)
    return steps


def _report(step: str, accounts: Sequence[dict[str, dict[str, np.ndarray]]]) -> StepReport:
    residual = max(_residual(account, step) for account in accounts)
    means = {
        what: float(np.mean(np.concatenate([account[step][what] for account in accounts])))
        for what in ("relevance_out", *_TERMS, "relevance_within")
        if what in accounts[0][step]
    }
    return StepReport(step, residual=residual, **means)


def _residual(account: dict[str, dict[str, np.ndarray]], step: str) -> float:
    terms = account[step]
    unaccounted = np.abs(terms["relevance_out"] - sum(terms[what] for what in _TERMS))
    scale = np.max([np.abs(values) for others in account.values() for values in others.values()], axis=0)
    relative = np.divide(unaccounted, scale, out=np.zeros_like(unaccounted), where=scale > 0)
    return float(np.max(np.where(np.isnan(unaccounted), np.inf, relative)))
