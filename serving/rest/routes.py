"""URLs: TensorFlow Serving's, matched as it matches them, and ours."""

import re
from dataclasses import dataclass
from functools import lru_cache
from urllib.parse import unquote

from serving.errors import Code, invalid_argument
from serving.metrics import METRICS_PATH
from serving.rest.replies import Headers, HttpError
from serving.types import ModelSpec

LIVENESS = "/healthz"
READINESS = "/readyz"
METRICS = METRICS_PATH
OPENAPI = "/openapi.json"
MODELS = "/v1/models"

# What answers however full the server is, and whoever asks.
HEALTH = frozenset({LIVENESS, READINESS, "/v2/health/live", "/v2/health/ready"})

INFERENCE = ("predict", "explain", "classify", "regress")

# What can be done where, beside the paths of a model.
_FIXED = {LIVENESS: "liveness", READINESS: "readiness", OPENAPI: "openapi", MODELS: "models"}

_MODEL = re.compile(
    rf"/v1/models/(?P<name>[^/:]+)(?:/versions/(?P<version>[0-9]+)|/labels/(?P<label>[^/:]+))?"
    rf"(?::(?P<verb>{'|'.join(INFERENCE)})|(?P<metadata>/metadata))?",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Route:
    """What a request asks for: an action by name, and the model where the URL names one."""

    action: str
    spec: ModelSpec | None = None


@dataclass(frozen=True)
class V2Route(Route):
    """A route of the Open Inference Protocol; see `serving.rest.v2.routes`.

    `name` and `version` are as the URL has them: the body may name a signature too.
    """

    name: str = ""
    version: str = ""


@lru_cache(maxsize=1024)  # clients ask a few URLs over and over
def find_route(method: str, path: str, query: str, metrics_path: str = METRICS) -> Route:
    """Reads method and URL.

    Args:
        method: The verb, as sent.
        path: The path, still percent-encoded.
        query: What follows the question mark; TensorFlow Serving takes none.
        metrics_path: Where the metrics are; empty: nowhere.

    Raises:
        ServingError: There is no such URL, or not with this method.
    """
    shown = f"{method} {path}{'?' * bool(query)}{query}"
    if method == "HEAD":  # is answered as GET, without the body (RFC 9110, section 9.3.2)
        method = "GET"
    if method == "OPTIONS" and path.lower().startswith(("/v1/", "/v2/")):
        return Route("preflight")  # what a browser asks before it lets a script ask
    fixed = "metrics" if path == metrics_path else _FIXED.get(path)
    if fixed is not None:
        check_method(method, "GET", shown)
        return Route(fixed)
    if path == "/v2" or path.startswith("/v2/"):
        from serving.rest.v2.routes import find_v2_route

        return find_v2_route(method, path, shown)
    if path.startswith("/v1/admin/") and not query:
        from serving.rest.admin import find_admin_route

        return find_admin_route(method, path, shown)
    if not path.lower().startswith("/v1/"):
        raise HttpError(
            404,
            f"No such URL: {shown}. Models are under {MODELS} and /v2/models; the others are {LIVENESS}, {READINESS}, "
            f"{METRICS} and {OPENAPI}, which describes them all.",
            code=Code.NOT_FOUND,
        )
    match = None if query else _MODEL.fullmatch(path)
    if match is None:
        raise invalid_argument(f"Malformed request: {shown}")
    verb = (match["verb"] or "").lower()
    check_method(method, "POST" if verb else "GET", shown)
    return Route(verb or ("metadata" if match["metadata"] else "status"), _model_spec(match))


def _model_spec(match: re.Match[str]) -> ModelSpec:
    version = None if match["version"] is None else match["version"].lstrip("0") or "0"
    if version is not None and (len(version) > 19 or int(version) >= 2**63):
        raise invalid_argument(f"A version must be below 2^63. Received: {version[:40]}.")
    return ModelSpec(
        name=unquote(match["name"]),
        version=None if version is None else int(version),
        label=None if match["label"] is None else unquote(match["label"]),
    )


def check_method(method: str, allowed: str, shown: str) -> None:
    """Refuses another method than the one that a URL takes.

    Raises:
        HttpError: 405, with the method in the header Allow.
    """
    if method != allowed:
        raise HttpError(
            405,
            f"Malformed request: {shown}. Use {allowed}.",
            headers=allow(allowed),
            code=Code.UNIMPLEMENTED,
        )


def allow(methods: str) -> Headers:
    """The header Allow of a 405: these methods, with commas between them, and HEAD where GET is one of them."""
    return ((b"allow", methods.replace("GET", "GET, HEAD").encode()),)
