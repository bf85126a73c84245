"""What goes on between a request that was checked and its model, for those who write it down."""

import asyncio
import time
from collections.abc import Mapping, Sequence

import numpy as np

from serving.errors import Code, ServingError
from serving.logs.audit import AUDITED_OUTPUTS, AuditLog, Explained
from serving.logs.records import Record
from serving.logs.requests import RequestLog
from serving.request_context import CURRENT, RequestContext
from serving.servable import EXPLAIN_SIGNATURES, Servable
from serving.tracing import Tracing
from serving.types import ModelSpec

Arrays = Mapping[str, np.ndarray]


class Recorder:
    """Runs requests for the data plane, and tells the logs. All methods belong to the event loop's thread.

    Args:
        requests: The request log, or None.
        audit: The audit log of explanations, or None.
        tracing: What makes the request's span, so that the logs can name its trace; or None.
    """

    def __init__(self, *, requests: RequestLog | None, audit: AuditLog | None, tracing: Tracing | None) -> None:
        self._requests = requests
        self._audit = audit
        self._tracing = tracing

    async def run(
        self,
        servable: Servable,
        spec: ModelSpec,
        inputs: Arrays,
        output_names: Sequence[str],
        *,
        deadline: float | None,
    ) -> dict[str, np.ndarray]:
        """Runs a signature as `Servable.run` does.

        Raises:
            ServingError: What the model answers, and UNAVAILABLE where an explanation can't be written down.
        """
        context, time_s, started = self._begin(), time.time(), time.perf_counter()
        wanted, audited = output_names, self._audit is not None and spec.signature_name in EXPLAIN_SIGNATURES
        if audited:
            every = servable.model.signatures[spec.signature_name].outputs
            output_names = [*wanted, *(name for name in AUDITED_OUTPUTS if name in every and name not in wanted)]
        try:
            outputs = await servable.run(spec.signature_name, inputs, output_names, deadline=deadline)
            if audited:
                await self._write_audit(
                    servable, spec, inputs, outputs, time_s=time_s, context=context, deadline=deadline
                )
        except ServingError as error:
            self._record(spec, inputs, {}, time_s=time_s, started=started, error=error, context=context)
            raise
        outputs = {name: outputs[name] for name in wanted}
        self._record(spec, inputs, outputs, time_s=time_s, started=started, error=None, context=context)
        return outputs

    async def run_together(
        self,
        servable: Servable,
        spec: ModelSpec,
        inputs: Mapping[str, Arrays],
        output_names: Mapping[str, Sequence[str]],
        *,
        deadline: float | None,
    ) -> dict[str, dict[str, np.ndarray]]:
        """Runs several signatures as `Servable.run_together` does; each is a record of its own."""
        context, time_s, started = self._begin(), time.time(), time.perf_counter()
        error: ServingError | None = None
        outputs: dict[str, dict[str, np.ndarray]] = {}
        try:
            outputs = await servable.run_together(inputs, output_names, deadline=deadline)
        except ServingError as failure:
            error = failure
            raise
        finally:
            for name, arrays in inputs.items() if outputs or error else ():
                one = ModelSpec(spec.name, servable.version, None, name)
                self._record(
                    one, arrays, outputs.get(name, {}), time_s=time_s, started=started, error=error, context=context
                )
        return outputs

    def _begin(self) -> RequestContext:
        context = CURRENT.get()
        if context is None:
            return RequestContext("", tuple)
        if self._tracing is not None:
            self._tracing.start(context)
        return context

    def _record(
        self,
        spec: ModelSpec,
        inputs: Arrays,
        outputs: Arrays,
        *,
        time_s: float,
        started: float,
        error: ServingError | None,
        context: RequestContext,
    ) -> None:
        if self._requests is None:
            return
        rate = self._requests.samples(spec.name)
        if rate:
            record = Record(
                spec,
                inputs,
                outputs,
                time_s=time_s,
                latency_s=time.perf_counter() - started,
                code=Code.OK if error is None else error.code,
                error="" if error is None else error.message,
                entrypoint=context.entrypoint,
                api=context.api,
                client=context.client,
                trace_id=context.trace_id,
                sampling_rate=rate,
            )
            self._requests.put(record)

    async def _write_audit(
        self,
        servable: Servable,
        spec: ModelSpec,
        inputs: Arrays,
        outputs: Arrays,
        *,
        time_s: float,
        context: RequestContext,
        deadline: float | None,
    ) -> None:
        explanation = servable.model.explanation
        if self._audit is None or explanation is None:
            return
        explained = Explained(
            spec,
            explanation,
            servable.manifest_digest,
            inputs,
            outputs,
            time_s,
            context.request_id,
            context.trace_id,
            context.client,
        )
        try:
            async with asyncio.timeout_at(deadline):
                await self._audit.write(explained)
        except TimeoutError as error:
            raise ServingError(
                Code.DEADLINE_EXCEEDED, "The request's deadline passed before its explanation was in the audit log."
            ) from error
