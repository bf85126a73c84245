"""What every transport calls: finds the servable, checks names, dtypes and values, and runs the request."""

import asyncio
import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from serving.administration import Administration
from serving.checks import check_finite, check_inputs, check_method_name, check_targets, choose_outputs
from serving.errors import Code, ServingError
from serving.manager import ModelManager
from serving.security.callers import check_signature_scope
from serving.servable import Servable
from serving.types import (
    DEFAULT_SIGNATURE,
    EXPLAIN_TARGET_SIGNATURE,
    Explanation,
    ModelSpec,
    ModelStatus,
    Prediction,
    ServedVersion,
    Signature,
)

if TYPE_CHECKING:
    from serving.logs.recorder import Recorder


class DataPlane:
    """Answers requests, whatever transport they came by. All methods belong to the event loop's thread.

    Args:
        manager: Where the servables are.
        administration: What changes the set of models.
        checks_method_names: Whether signatures are refused whose `method_name` isn't one of TensorFlow Serving's.
        recorder: Runs the requests in place of their servable and writes them down; None: nobody does.

    Attributes:
        administration: See above.
        checks_method_names: See above.
    """

    def __init__(
        self,
        manager: ModelManager,
        *,
        administration: Administration | None = None,
        checks_method_names: bool = False,
        recorder: "Recorder | None" = None,
    ) -> None:
        self._manager = manager
        self._recorder = recorder
        self.administration = administration or Administration(manager)
        self.checks_method_names = checks_method_names
        self._ready = False

    def resolve(self, spec: ModelSpec) -> tuple[ModelSpec, Mapping[str, Signature], Explanation | None]:
        """The spec with its version filled in, the version's signatures, and how to read its explanations.

        Raises:
            ServingError: The model or version isn't served; TensorFlow Serving's codes and texts.
        """
        servable = self._manager.find(spec)
        return _resolved(spec, servable), servable.model.signatures, servable.model.explanation

    def signature(self, spec: ModelSpec) -> tuple[ModelSpec, Signature]:
        """The spec with version and signature name filled in, and the signature.

        Raises:
            ServingError: The model or version isn't served, or FAILED_PRECONDITION where it has no such signature.
        """
        servable = self._manager.find(spec)
        resolved = _resolved(spec, servable)
        return resolved, _signature(servable, resolved.signature_name)

    async def predict(
        self,
        spec: ModelSpec,
        inputs: Mapping[str, np.ndarray],
        *,
        output_filter: Sequence[str] = (),
        timeout_s: float | None = None,
    ) -> Prediction:
        """Runs any signature. Cancelling takes the request out of the queue.

        Args:
            spec: The model, and version and signature where not the newest and `serving_default`.
            inputs: An array for each input of the signature; strings as object arrays of `bytes`.
            output_filter: The outputs wanted; all where empty.
            timeout_s: Seconds until nobody wants the answer any more; None: for ever.

        Raises:
            ServingError: Whatever can be wrong with the request, and what the model answers.
        """
        return await self.predict_on(
            self._manager.find(spec), spec, inputs, output_filter=output_filter, timeout_s=timeout_s
        )

    @contextlib.contextmanager
    def hold(self, spec: ModelSpec) -> Iterator["HeldVersion"]:
        """A version for a request that needs more than one run: it answers all of them, whatever is loaded meanwhile.

        Raises:
            ServingError: The model or version isn't served; TensorFlow Serving's codes and texts.
        """
        servable = self._manager.find(spec)
        with servable.hold():
            yield HeldVersion(
                self, servable, _resolved(spec, servable), servable.model.signatures, servable.model.explanation
            )

    async def predict_on(
        self,
        servable: Servable,
        spec: ModelSpec,
        inputs: Mapping[str, np.ndarray],
        *,
        output_filter: Sequence[str] = (),
        timeout_s: float | None = None,
    ) -> Prediction:
        """As `predict`, on a version that was found before; of `spec` the signature counts."""
        resolved = _resolved(spec, servable)
        signature = _signature(servable, resolved.signature_name)
        if self.checks_method_names:
            check_method_name(signature)
        output_names = choose_outputs(signature, output_filter)
        checked = _check(servable, resolved.signature_name, inputs)
        deadline = _deadline(timeout_s)
        if self._recorder is None:
            outputs = await servable.run(resolved.signature_name, checked, output_names, deadline=deadline)
        else:
            outputs = await self._recorder.run(servable, resolved, checked, output_names, deadline=deadline)
        return Prediction(resolved, outputs)

    async def predict_together(
        self,
        spec: ModelSpec,
        inputs: Mapping[str, Mapping[str, np.ndarray]],
        *,
        output_filters: Mapping[str, Sequence[str]],
        timeout_s: float | None = None,
    ) -> dict[str, dict[str, np.ndarray]]:
        """Runs several signatures of one version, in one run where the engine can.

        Args:
            spec: The model, and the version where not the newest.
            inputs: By signature what `predict` takes. Signatures with the same input must be given the same array, or
                each runs by itself.
            output_filters: By signature the outputs wanted; all where empty.
            timeout_s: As in `predict`.

        Returns:
            The outputs by signature and name.

        Raises:
            ServingError: As `predict`.
        """
        servable = self._manager.find(spec)
        output_names = {
            name: choose_outputs(_signature(servable, name), output_filters.get(name, ())) for name in inputs
        }
        checked = {name: _check(servable, name, arrays) for name, arrays in inputs.items()}
        deadline = _deadline(timeout_s)
        if self._recorder is None:
            return await servable.run_together(checked, output_names, deadline=deadline)
        return await self._recorder.run_together(servable, spec, checked, output_names, deadline=deadline)

    def status(self, name: str, version: int | None = None) -> ModelStatus:
        """The versions of a model, or one of them.

        Raises:
            ServingError: NOT_FOUND with TensorFlow Serving's texts.
        """
        return self._manager.status(name, version)

    def serves(self, name: str) -> bool:
        """Whether a model of this name is to be served, loaded or not."""
        return self._manager.config(name) is not None

    def models(self) -> list[ModelStatus]:
        """Every model that is or was served."""
        return self._manager.statuses()

    def versions(self) -> list[ServedVersion]:
        """Every version that answers requests, by model, newest first."""
        return [
            ServedVersion(
                name,
                servable.version,
                newest=position == 0,
                signatures=servable.model.signatures,
                labels=tuple(
                    label for label, number in self._manager.labels(name).items() if number == servable.version
                ),
                explanation=servable.model.explanation,
                refuses_non_finite=servable.refuses_non_finite,
            )
            for name, servables in self._manager.answering().items()
            for position, servable in enumerate(servables)
        ]

    def ready(self) -> bool:
        """Whether the first models are loaded and the server isn't shutting down."""
        return self._ready

    def set_ready(self, *, ready: bool) -> None:
        """Says whether requests are welcome; those that come all the same are answered."""
        self._ready = ready


@dataclass(frozen=True)
class HeldVersion:
    """A version that isn't let go; see `DataPlane.hold`.

    Attributes:
        data_plane: What runs it.
        servable: The version.
        spec: What was asked for, with version and signature name filled in.
        signatures: The version's signatures.
        explanation: How to read its explanations.
    """

    data_plane: DataPlane
    servable: Servable
    spec: ModelSpec
    signatures: Mapping[str, Signature]
    explanation: Explanation | None

    async def predict(
        self, spec: ModelSpec, inputs: Mapping[str, np.ndarray], *, timeout_s: float | None = None
    ) -> Prediction:
        """As `DataPlane.predict`; of `spec` the signature counts."""
        return await self.data_plane.predict_on(self.servable, spec, inputs, timeout_s=timeout_s)


def _resolved(spec: ModelSpec, servable: Servable) -> ModelSpec:
    signature_name = spec.signature_name or DEFAULT_SIGNATURE
    return servable.specs.get(signature_name) or ModelSpec(spec.name, servable.version, None, signature_name)


def _check(servable: Servable, signature_name: str, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    check_signature_scope(signature_name)
    checked = check_inputs(_signature(servable, signature_name), inputs)
    if servable.refuses_non_finite:
        check_finite(checked)
    if signature_name == EXPLAIN_TARGET_SIGNATURE and servable.model.explanation is not None:
        check_targets(checked, servable.model.explanation)
    return checked


def _deadline(timeout_s: float | None) -> float | None:
    """In the event loop's time."""
    return None if timeout_s is None else asyncio.get_running_loop().time() + timeout_s


def _signature(servable: Servable, signature_name: str) -> Signature:
    signature = servable.model.signatures.get(signature_name)
    if signature is None:
        raise ServingError(Code.FAILED_PRECONDITION, f'Serving signature key "{signature_name}" not found.')
    return signature
