"""The ASGI application: TensorFlow Serving's REST interface, explanations, health, metrics and the OpenAPI document."""

import asyncio
import functools
import logging
import time
from collections.abc import Awaitable, Callable, Collection, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from serving.errors import Code, ServingError, invalid_argument
from serving.request_context import begin_request
from serving.rest.asgi import App, Receive, Scope, Send
from serving.rest.body import ClientLeft, read_body
from serving.rest.decode import Body
from serving.rest.encode import encode_json, encode_outputs
from serving.rest.json_text import check_depth
from serving.rest.limits import Limits
from serving.rest.replies import Reply, error_reply, preflight_reply, send_reply
from serving.rest.routes import METRICS, Route, V2Route, find_route
from serving.types import DEFAULT_SIGNATURE, EXPLAIN_SIGNATURE, ModelSpec, ModelStatus, Prediction, ServedVersion

if TYPE_CHECKING:
    from serving.data_plane import DataPlane
    from serving.metrics import Metrics
    from serving.rest.v2.app import InferenceProtocol

logger = logging.getLogger(__name__)

Result = TypeVar("Result")

# Most requests are answered sooner: only then is it worth a task to see whether the client is still there.
WATCH_AFTER_S = 0.02


def create_app(
    data_plane: "DataPlane",
    metrics: "Metrics",
    *,
    limits: Limits | None = None,
    open_paths: Collection[str] | None = None,
    metrics_path: str = METRICS,
) -> App:
    """The REST side of the server.

    Args:
        data_plane: What answers.
        metrics: Where each request is counted, and what `/monitoring/prometheus/metrics` shows.
        limits: Bounds of one request.
        open_paths: For the OpenAPI document: the paths that need no token where the others do; None: none does.
        metrics_path: Where the metrics are; empty: nowhere.

    Returns:
        An ASGI application for HTTP and lifespan.
    """
    return RestApp(data_plane, metrics, limits or Limits(), open_paths, metrics_path)


class RestApp:
    """See `create_app`."""

    def __init__(
        self,
        data_plane: "DataPlane",
        metrics: "Metrics",
        limits: Limits,
        open_paths: Collection[str] | None,
        metrics_path: str,
    ) -> None:
        self._metrics_path = metrics_path
        self._open_paths = open_paths
        self._described: tuple[list[ServedVersion], Reply] | None = None
        self._data_plane = data_plane
        self._metrics = metrics
        self._limits = limits
        self._actions: dict[str, Callable[[], Reply]] = {
            "liveness": lambda: Reply(encode_json({"status": "alive"})),
            "readiness": self._readiness,
            "metrics": lambda: Reply(metrics.expose(), content_type=b"text/plain; version=0.0.4; charset=utf-8"),
            "openapi": self._document,
            "models": lambda: Reply(
                encode_json({"models": [_status_json(status, named=True) for status in data_plane.models()]})
            ),
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers one request."""
        if scope["type"] == "lifespan":
            await _answer_lifespan(receive, send)
            return
        if scope["type"] != "http":
            await send({"type": "websocket.close"})
            return
        try:
            reply = await self._answer(scope, receive)
        except ClientLeft:
            return
        await send_reply(send, reply)

    async def _answer(self, scope: Scope, receive: Receive) -> Reply:
        start, call = time.perf_counter(), Call()
        request = begin_request("REST", lambda: scope["headers"])
        try:
            path = scope.get("raw_path") or scope["path"].encode()
            route = find_route(
                scope["method"],
                path.decode("latin-1"),
                scope["query_string"].decode("latin-1"),
                self._metrics_path,
            )
            if route.spec is None:
                if route.action == "preflight":
                    return preflight_reply(scope["headers"])
                return self._v2.answer(route) if isinstance(route, V2Route) else self._actions[route.action]()
            call.api, call.model = route.action, route.spec.name
            request.api = route.action
            reply = await self._answer_model(route, route.spec, scope, receive, call)
        except ServingError as error:
            reply = error_reply(error)
        except ClientLeft:
            self._observe(call, Code.CANCELLED, start)
            raise
        except asyncio.CancelledError:
            self._observe(call, Code.CANCELLED, start)
            raise
        except Exception:
            logger.exception("%s %s failed", scope["method"], scope["path"])
            reply = error_reply(
                ServingError(
                    Code.INTERNAL, "The request failed inside the server, which is still up. Its log says why."
                )
            )
        self._observe(call, reply.code, start)
        return reply

    async def _answer_model(self, route: Route, spec: ModelSpec, scope: Scope, receive: Receive, call: "Call") -> Reply:
        if isinstance(route, V2Route):
            return await self._answer_v2(route, scope, receive, call)
        if route.action == "status":
            return Reply(encode_json(self._status(spec)))
        if route.action == "metadata":
            return Reply(encode_json(self._metadata(spec)))
        if route.action.startswith("admin "):
            from serving.rest.admin import answer_admin

            return Reply(encode_json(await answer_admin(self._data_plane, route, scope, receive, self._limits)))
        content = await read_body(receive, scope["headers"], self._limits)
        check_depth(content, self._limits.max_json_depth)
        body = Body.parse(content)
        answer = {"explain": self._explain, "classify": self._infer, "regress": self._infer}.get(
            route.action, self._predict
        )
        return Reply(await answer(spec, body, receive, call))

    @functools.cached_property
    def _v2(self) -> "InferenceProtocol":
        """Made and imported at its first request: most servers never see one."""
        from serving.rest.v2.app import InferenceProtocol

        return InferenceProtocol(self._data_plane, self._metrics, self._limits)

    async def _answer_v2(self, route: V2Route, scope: Scope, receive: Receive, call: "Call") -> Reply:
        from serving.rest.v2.routes import INFERENCE

        if route.action not in INFERENCE:
            return self._v2.answer(route)
        content = await read_body(receive, scope["headers"], self._limits)
        return await self._v2.infer(
            route, content, scope["headers"], call=call, guard=lambda answer: unless_left(answer, receive)
        )

    async def _predict(self, spec: ModelSpec, body: Body, receive: Receive, call: "Call") -> bytes:
        name = body.signature_name() or DEFAULT_SIGNATURE
        spec, signatures, _ = self._data_plane.resolve(with_signature(spec, name))
        signature = signatures.get(name)
        if signature is None:
            raise invalid_argument(f'Serving signature name: "{name}" not found in signature def')
        call.reach("predict", spec)
        form, inputs = body.inputs(signature.inputs)
        prediction = await unless_left(self._run(spec, inputs), receive)
        return encode_outputs(prediction.outputs, form)

    async def _explain(self, spec: ModelSpec, body: Body, receive: Receive, call: "Call") -> bytes:
        from serving.rest.explain import Explainer, explained_signature

        with self._data_plane.hold(with_signature(spec, body.signature_name())) as held:
            signature, explanation = explained_signature(held.spec, held.signatures, held.explanation)
            call.reach("explain", with_signature(held.spec, EXPLAIN_SIGNATURE))
            form, inputs = body.inputs(signature.inputs)
            predict = functools.partial(held.predict, timeout_s=self._limits.timeout_s)
            explainer = Explainer(held.spec, held.signatures, explanation, predict)
            explained = await unless_left(explainer.explain(inputs, body.document.get("parameters")), receive)
        return encode_outputs(explained.outputs, form, {"explanations": explained.explanations})

    async def _infer(self, spec: ModelSpec, body: Body, receive: Receive, call: "Call") -> bytes:
        from serving.inference import find_task, infer
        from serving.rest.examples import encode_result, read_examples
        from serving.tasks import Method

        name, examples = body.signature_name(), read_examples(body.document)
        spec, task = find_task(self._data_plane, with_signature(spec, name), Method[call.api.upper()])
        call.reach(call.api, spec)
        answer = infer(self._data_plane, spec, task, examples, timeout_s=self._limits.timeout_s)
        return encode_result(await unless_left(answer, receive))

    def _run(self, spec: ModelSpec, inputs: Mapping[str, np.ndarray]) -> Awaitable[Prediction]:
        return self._data_plane.predict(spec, inputs, timeout_s=self._limits.timeout_s)

    def _readiness(self) -> Reply:
        if self._data_plane.ready():
            return Reply(encode_json({"status": "ready"}))
        return error_reply(
            ServingError(Code.UNAVAILABLE, "Not ready: models are still being loaded, or the server is stopping.")
        )

    def _document(self) -> Reply:
        """The OpenAPI document, made anew when other versions are served."""
        from serving.rest.openapi import openapi_document

        versions = self._data_plane.versions()
        if self._described is None or self._described[0] != versions:
            document = openapi_document(
                self._open_paths,
                self._metrics_path,
                admin=self._data_plane.administration.enabled,
                versions=versions,
            )
            self._described = versions, Reply(encode_json(document))
        return self._described[1]

    def _status(self, spec: ModelSpec) -> dict[str, Any]:
        return _status_json(self._data_plane.status(spec.name, spec.version))

    def _metadata(self, spec: ModelSpec) -> dict[str, Any]:
        from google.protobuf.json_format import MessageToDict

        from serving.grpc.metadata import signature_def_map

        spec, signatures, _ = self._data_plane.resolve(spec)
        signature_defs = MessageToDict(
            signature_def_map(signatures), preserving_proto_field_name=True, always_print_fields_with_no_presence=True
        )
        model_spec = {"name": spec.name, "signature_name": "", "version": str(spec.version)}
        return {"model_spec": model_spec, "metadata": {"signature_def": signature_defs}}

    def _observe(self, call: "Call", code: Code, start: float) -> None:
        self._metrics.observe_request(
            model=call.model,
            version=call.version,
            signature=call.signature,
            api=call.api,
            entrypoint="REST",
            code=code,
            seconds=time.perf_counter() - start,
        )


class Call:
    """What is known of a request while it is answered, for the metrics. A version becomes known once it is found."""

    __slots__ = ("api", "model", "signature", "version")

    def __init__(self) -> None:
        self.api, self.model, self.signature = "", "", ""
        self.version: int | None = None

    def reach(self, api: str, spec: ModelSpec) -> None:
        """Notes which version and signature the request has reached."""
        self.api, self.model, self.version, self.signature = api, spec.name, spec.version, spec.signature_name


def with_signature(spec: ModelSpec, name: str) -> ModelSpec:
    """The same model, another signature."""
    return ModelSpec(spec.name, spec.version, spec.label, name)


async def unless_left(answer: Awaitable[Result], receive: Receive) -> Result:
    """Awaits an answer, and cancels it when the client closes the connection.

    Raises:
        ClientLeft: It has.
    """
    loop, caller = asyncio.get_running_loop(), asyncio.current_task()
    if caller is None:
        raise RuntimeError("Expected to run in a task. Received: none. Await it inside asyncio.run().")
    watchers: list[asyncio.Task[None]] = []
    left = False

    async def watch() -> None:
        nonlocal left
        while (await receive())["type"] != "http.disconnect":
            pass
        left = True
        caller.cancel()

    handle = loop.call_later(WATCH_AFTER_S, lambda: watchers.append(loop.create_task(watch())))
    try:
        return await answer
    except asyncio.CancelledError:
        if left and caller.uncancel() == 0:
            raise ClientLeft from None
        raise
    finally:
        handle.cancel()
        for watcher in watchers:
            watcher.cancel()


def _status_json(status: ModelStatus, *, named: bool = False) -> dict[str, Any]:
    versions = [
        {
            "version": str(version.version),
            "state": version.state.name,
            "status": {"error_code": Code(version.error_code).name, "error_message": version.error_message},
        }
        for version in status.versions
    ]
    return {**({"name": status.name} if named else {}), "model_version_status": versions}


async def _answer_lifespan(receive: Receive, send: Send) -> None:
    while True:
        kind = (await receive())["type"]
        await send({"type": f"{kind}.complete"})
        if kind == "lifespan.shutdown":
            return
