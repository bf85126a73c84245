"""Answers the URLs of the Open Inference Protocol."""

from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any, Protocol

from serving.errors import invalid_argument, unavailable
from serving.inference_protocol.description import (
    EXTENSIONS,
    SERVER_NAME,
    ModelDescription,
    Tensor,
    check_ready,
    describe_model,
    find_signature,
    index,
    server_version,
)
from serving.inference_protocol.inference import infer
from serving.inference_protocol.requests import InferReply, model_spec, signature_parameter
from serving.inference_protocol.statistics import VersionStatistics, statistics
from serving.rest.encode import encode_json
from serving.rest.json_text import show
from serving.rest.limits import Limits
from serving.rest.replies import Reply
from serving.rest.routes import V2Route
from serving.rest.v2 import routes
from serving.rest.v2.codec import decode_request, encode_reply
from serving.rest.v2.compression import choose_coding, compress
from serving.types import EXPLAIN_SIGNATURE, ModelSpec

if TYPE_CHECKING:
    from serving.data_plane import DataPlane
    from serving.metrics import Metrics

HEADER_LENGTH = b"inference-header-content-length"
BINARY = b"application/octet-stream"

Headers = Iterable[tuple[bytes, bytes]]
Guard = Callable[[Awaitable[InferReply]], Awaitable[InferReply]]


class Call(Protocol):
    """What is noted of a request for the metrics."""

    def reach(self, api: str, spec: ModelSpec) -> None:
        """Notes which version and signature the request has reached."""


class InferenceProtocol:
    """The protocol over REST.

    Args:
        data_plane: What answers.
        metrics: What names the engine, and has counted what the statistics tell.
        limits: Bounds of one request.
    """

    def __init__(self, data_plane: "DataPlane", metrics: "Metrics", limits: Limits) -> None:
        self._data_plane = data_plane
        self._metrics = metrics
        self._limits = limits
        self._actions: Mapping[str, Callable[[V2Route], Any]] = {
            routes.SERVER: lambda _: {"name": SERVER_NAME, "version": server_version(), "extensions": EXTENSIONS},
            routes.LIVENESS: lambda _: {"live": True},
            routes.READINESS: self._readiness,
            routes.NAMES: lambda _: {"models": [model.name for model in data_plane.models()]},
            routes.ALL_STATISTICS: self._statistics,
            routes.REPOSITORY: lambda _: [asdict(entry) for entry in index(data_plane)],
            "metadata": lambda route: _metadata_json(self._describe(route)),
            "config": lambda route: _config_json(self._describe(route)),
            "ready": self._model_readiness,
            "stats": self._statistics,
        }

    def answer(self, route: V2Route) -> Reply:
        """Answers whatever needs no body.

        Raises:
            ServingError: The model isn't served, or the server isn't ready.
        """
        return Reply(encode_json(self._actions[route.action](route)))

    async def infer(self, route: V2Route, content: bytes, headers: Headers, *, call: Call, guard: Guard) -> Reply:
        """Answers `/infer` and `/explain`.

        Args:
            route: The URL's.
            content: The body.
            headers: Names in lower case.
            call: What is noted for the metrics.
            guard: Awaits an answer as long as the client is there.

        Raises:
            ServingError: Whatever can be wrong with the request, and what the model answers.
        """
        known = {name.lower(): value for name, value in headers}
        request = decode_request(
            content, _header_length(known.get(HEADER_LENGTH)), max_depth=self._limits.max_json_depth
        )
        signature_name = signature_parameter(request.parameters)
        if route.action == "explain":
            if signature_name not in ("", EXPLAIN_SIGNATURE):
                raise invalid_argument(
                    f"'/explain' explains signature {EXPLAIN_SIGNATURE!r}. Received: "
                    f"signature_name={show(signature_name)}. Leave it out, or ask '/infer'."
                )
            signature_name = EXPLAIN_SIGNATURE
        spec = model_spec(route.name, route.version, signature_name=signature_name)
        spec, _ = find_signature(self._data_plane, spec)
        call.reach(route.action, spec)
        reply = await guard(infer(self._data_plane, spec, request, timeout_s=self._limits.timeout_s))
        body, header_length = encode_reply(route.name, request, reply)
        return await _compressed(_reply(body, header_length), known.get(b"accept-encoding", b""))

    def _describe(self, route: V2Route) -> ModelDescription:
        return describe_model(self._data_plane, _spec(route), name=route.name, engine=self._metrics.engine)

    def _readiness(self, _: V2Route) -> dict[str, bool]:
        if not self._data_plane.ready():
            raise unavailable("Not ready: models are still being loaded, or the server is stopping.")
        return {"ready": True}

    def _model_readiness(self, route: V2Route) -> dict[str, Any]:
        check_ready(self._data_plane, _spec(route))
        return {"name": route.name, "ready": True}

    def _statistics(self, route: V2Route) -> dict[str, Any]:
        if route.spec is None:
            found = statistics(self._data_plane, self._metrics)
        else:
            spec, _, _ = self._data_plane.resolve(route.spec)
            version = spec.version if route.version else None
            found = statistics(self._data_plane, self._metrics, name=spec.name, version=version)
        return {"model_stats": [_statistics_json(each) for each in found]}


def _spec(route: V2Route) -> ModelSpec:
    if route.spec is None:
        raise RuntimeError(f"Expected the route of a model. Received: {route}. Look at serving/rest/v2/routes.py.")
    return route.spec


def _header_length(value: bytes | None) -> int | None:
    if value is None:
        return None
    if not value.isdigit() or len(value) > 18:
        raise invalid_argument(
            "Inference-Header-Content-Length must be the length of the JSON, in bytes. "
            f"Received: {value[:40].decode('latin-1')!r}."
        )
    return int(value)


def _reply(body: bytes, header_length: int | None) -> Reply:
    if header_length is None:
        return Reply(body)
    return Reply(body, content_type=BINARY, headers=((HEADER_LENGTH, b"%d" % header_length),))


async def _compressed(reply: Reply, accept_encoding: bytes) -> Reply:
    coding = choose_coding(accept_encoding.decode("latin-1"))
    if not coding:
        return reply
    headers = (*reply.headers, (b"content-encoding", coding.encode()), (b"vary", b"accept-encoding"))
    return replace(reply, body=await compress(reply.body, coding), headers=headers)


def _metadata_json(model: ModelDescription) -> dict[str, Any]:
    return {
        "name": model.name,
        "versions": model.versions,
        "platform": model.platform,
        "inputs": [asdict(tensor) for tensor in model.inputs],
        "outputs": [asdict(tensor) for tensor in model.outputs],
    }


def _config_json(model: ModelDescription) -> dict[str, Any]:
    """Triton's configuration. `max_batch_size` 0: the dimensions hold that of the batch."""
    return {
        "name": model.name,
        "platform": model.platform,
        "backend": model.platform.split("_")[0],
        "max_batch_size": 0,
        "input": [_config_tensor(tensor) for tensor in model.inputs],
        "output": [_config_tensor(tensor) for tensor in model.outputs],
    }


def _config_tensor(tensor: Tensor) -> dict[str, Any]:
    return {"name": tensor.name, "data_type": tensor.config_type, "dims": tensor.shape}


def _statistics_json(version: VersionStatistics) -> dict[str, Any]:
    return {
        "name": version.name,
        "version": version.version,
        "last_inference": version.last_inference_ms,
        "inference_count": version.inference_count,
        "execution_count": version.execution_count,
        "inference_stats": {name: asdict(duration) for name, duration in version.durations.items()},
        "batch_stats": [],
    }
