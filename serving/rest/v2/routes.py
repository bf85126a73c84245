"""URLs of the Open Inference Protocol."""

import re
from urllib.parse import unquote

from serving.errors import Code, ServingError
from serving.inference_protocol.description import NOT_SERVED
from serving.inference_protocol.requests import model_spec
from serving.rest.replies import HttpError
from serving.rest.routes import V2Route, check_method

ROOT = "/v2"
LIVE = "/v2/health/live"
READY = "/v2/health/ready"
MODELS = "/v2/models"
STATISTICS = "/v2/models/stats"
INDEX = "/v2/repository/index"

# What is sent with POST; everything else is asked for with GET.
INFERENCE = ("infer", "explain")

# Actions on URLs that name no model.
SERVER, LIVENESS, READINESS, NAMES, ALL_STATISTICS, REPOSITORY = (
    "v2 server",
    "v2 live",
    "v2 ready",
    "v2 models",
    "v2 statistics",
    "v2 index",
)

_FIXED = {ROOT: SERVER, LIVE: LIVENESS, READY: READINESS, MODELS: NAMES, STATISTICS: ALL_STATISTICS, INDEX: REPOSITORY}

_MODEL = re.compile(
    rf"{MODELS}/(?P<name>[^/]+)(?:/versions/(?P<version>[^/]+))?(?:/(?P<action>ready|config|stats|infer|explain))?"
)

# What isn't served: a key of `NOT_SERVED`, which says why.
_NOT_SERVED = {
    "repository": re.compile(r"/v2/repository/models/[^/]+/(?:load|unload)"),
    "shared memory": re.compile(r"/v2/(?:system|cuda)sharedmemory(?:/.*)?"),
    "trace": re.compile(r"/v2(?:/models/[^/]+)?/trace/setting"),
    "log": re.compile(r"/v2/logging"),
}


def find_v2_route(method: str, path: str, shown: str) -> V2Route:
    """Reads method and URL. A query is ignored, as Triton ignores it.

    Args:
        method: The verb, as sent.
        path: The path, still percent-encoded; starts with `/v2`.
        shown: Both, for errors.

    Raises:
        ServingError: There is no such URL, or not with this method, or it is one of Triton's that isn't served.
    """
    path = path.rstrip("/")
    fixed = _FIXED.get(path)
    if fixed is not None:
        check_method(method, "POST" if fixed == REPOSITORY else "GET", shown)
        return V2Route(fixed)
    match = _MODEL.fullmatch(path)
    if match is None:
        raise _unknown(path, shown)
    action = match["action"] or "metadata"
    check_method(method, "POST" if action in INFERENCE else "GET", shown)
    name, version = unquote(match["name"]), unquote(match["version"] or "")
    return V2Route(action, model_spec(name, version), name, version)


def _unknown(path: str, shown: str) -> ServingError:
    for what, url in _NOT_SERVED.items():
        if url.fullmatch(path):
            return ServingError(Code.UNIMPLEMENTED, NOT_SERVED[what])
    return HttpError(
        404,
        f"No such URL: {shown}. Of the Open Inference Protocol there are {', '.join(_FIXED)}, and "
        f"{MODELS}/NAME[/versions/VERSION][/ready|/config|/stats|/infer|/explain].",
        code=Code.NOT_FOUND,
    )
