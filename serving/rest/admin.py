"""URLs that change what is served: one model at a time, or all that the configuration file says."""

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from serving.errors import Code, ServingError, invalid_argument
from serving.rest.asgi import Receive, Scope
from serving.rest.body import read_body
from serving.rest.json_text import check_depth, parse_json
from serving.rest.limits import Limits
from serving.rest.replies import HttpError
from serving.rest.routes import Route, allow, check_method
from serving.types import ModelSpec

if TYPE_CHECKING:
    from serving.data_plane import DataPlane

ROOT = "/v1/admin"
MODEL = f"{ROOT}/models/{{name}}"
RELOAD = f"{ROOT}/reload"

DESCRIBE, ADD, REMOVE, RELOADED = "admin describe", "admin add", "admin remove", "admin reload"
ACTIONS = frozenset({DESCRIBE, ADD, REMOVE, RELOADED})

_MODEL = re.compile(rf"{ROOT}/models/(?P<name>[^/:]+)")
_BY_METHOD = {"GET": DESCRIBE, "PUT": ADD, "DELETE": REMOVE}
_SCHEMA = "#/components/schemas/"


def find_admin_route(method: str, path: str, shown: str) -> Route:
    """Reads a URL below `/v1/admin`.

    Args:
        method: The verb, as sent.
        path: The path, still percent-encoded.
        shown: The request, for messages.

    Raises:
        ServingError: There is no such URL, or not with this method.
    """
    if path == RELOAD:
        check_method(method, "POST", shown)
        return Route(RELOADED, ModelSpec(""))
    match = _MODEL.fullmatch(path)
    if match is None:
        raise invalid_argument(f"Malformed request: {shown}. There is {MODEL} and {RELOAD}.")
    if method not in _BY_METHOD:
        allowed = ", ".join(_BY_METHOD)
        raise HttpError(405, f"Malformed request: {shown}. Use {allowed}.", headers=allow(allowed))
    return Route(_BY_METHOD[method], ModelSpec(unquote(match["name"])))


async def answer_admin(
    data_plane: "DataPlane", route: Route, scope: Scope, receive: Receive, limits: Limits
) -> dict[str, Any]:
    """Does what a route of `find_admin_route` asks for.

    Args:
        data_plane: What serves the models.
        route: The route.
        scope: The request.
        receive: Its body.
        limits: Bounds of the body.

    Returns:
        The reply's JSON: the model as it is served now; for a reload and a removal nothing.

    Raises:
        ServingError: It can't be done; then nothing was changed.
    """
    administration = data_plane.administration
    administration.check_enabled()
    name = "" if route.spec is None else route.spec.name
    if route.action == RELOADED:
        await administration.reload()
        return {}
    if route.action == REMOVE:
        await administration.remove(name)
        return {}
    if route.action == ADD:
        content = await read_body(receive, scope["headers"], limits)
        check_depth(content, limits.max_json_depth)
        try:
            await administration.add(name, parse_json(content))
        except ServingError as error:
            if error.code != Code.FAILED_PRECONDITION:
                raise
            # The request is well formed, and what is on the disk doesn't allow it (RFC 9110, section 15.5.10).
            raise HttpError(409, error.message, code=error.code) from error
    return administration.describe(name)


def admin_paths() -> Mapping[str, Any]:
    """What the OpenAPI document says of these URLs."""
    shared = {"parameters": [{"$ref": "#/components/parameters/anyName"}]}
    body = {"required": True, "content": {"application/json": {"schema": {"$ref": f"{_SCHEMA}ModelConfig"}}}}
    return {
        MODEL: {
            **shared,
            "get": _operation("getModel", "What is asked for of a model", "ServedModel", ("400", "404", "405")),
            "put": {
                **_operation(
                    "putModel",
                    "Adds a model, or changes it; answers when it is available, else nothing was changed. Kept in "
                    "memory only: a server that starts again serves what its flags and files say",
                    "ServedModel",
                    ("400", "404", "405", "408", "409", "413", "415", "500", "503"),
                ),
                "requestBody": body,
            },
            "delete": _operation(
                "deleteModel",
                "Stops serving a model; requests in flight are answered. In memory only, as above",
                "Nothing",
                ("400", "404", "405", "500"),
            ),
        },
        RELOAD: {
            "post": _operation(
                "reload",
                "Puts the configuration file into effect as it is now, and looks at the version folders at once",
                "Nothing",
                ("400", "404", "405", "500"),
            )
        },
    }


def admin_schemas() -> dict[str, Any]:
    """The schemas of `admin_paths`."""
    number = [{"type": "integer", "minimum": 0, "maximum": 2**63 - 1}, {"type": "string", "pattern": "^[0-9]{1,18}$"}]
    versions = {"type": "array", "items": {"anyOf": number}, "minItems": 1}
    policy = {
        "oneOf": [
            _choice("latest", {"num_versions": {"type": "integer", "minimum": 0, "maximum": 2**32 - 1}}),
            _choice("all", {}),
            _choice("specific", {"versions": versions}, required=["versions"]),
        ]
    }
    config: dict[str, Any] = {
        "name": {"type": "string"},
        "base_path": {"type": "string", "description": "An absolute path: the folder of the version folders"},
        "model_platform": {"type": "string", "description": "`tensorflow`, whichever engine runs it"},
        "model_version_policy": policy,
        "version_labels": {"type": "object", "additionalProperties": {"type": "string"}},
    }
    absent: dict[str, Any] = {"type": "null"}
    asked = {
        "name": {"enum": ["", None], "description": "Or that of the URL"},
        "base_path": {**config["base_path"], "pattern": "^(?:file://)?/[^\\u0000]*$"},
        "model_platform": {"enum": ["tensorflow", "", None], "description": "Whichever engine runs it"},
        "model_version_policy": {"anyOf": [policy, absent]},
        "version_labels": {"anyOf": [{"type": "object", "additionalProperties": {"anyOf": number}}, absent]},
        "logging_config": {"anyOf": [_logging_schema(), absent]},
    }
    return {
        "ModelConfig": {
            "type": "object",
            "description": "TensorFlow Serving's ModelConfig in JSON",
            "required": ["base_path"],
            "properties": asked,
            "additionalProperties": False,
        },
        "ServedModel": {
            "type": "object",
            "required": list(config),
            "properties": config,
            "additionalProperties": False,
        },
        "Nothing": {"type": "object", "additionalProperties": False},
    }


def _choice(name: str, properties: dict[str, Any], *, required: Sequence[str] = ()) -> dict[str, Any]:
    """A message of which one field is set."""
    return {
        "type": "object",
        "required": [name],
        "properties": {
            name: {
                "type": "object",
                "required": list(required),
                "properties": properties,
                "additionalProperties": False,
            }
        },
        "additionalProperties": False,
    }


def _logging_schema() -> dict[str, Any]:
    text = {"type": "string"}
    members = {
        "log_collector_config": {"type": text, "filename_prefix": text},
        "sampling_config": {"sampling_rate": {"type": "number", "minimum": 0, "maximum": 1}},
    }
    return {
        "type": "object",
        "properties": {
            name: {"type": "object", "properties": properties, "additionalProperties": False}
            for name, properties in members.items()
        },
        "additionalProperties": False,
    }


_ERRORS = {
    "400": "Invalid",
    "404": "NotFound",
    "405": "MethodNotAllowed",
    "408": "Timeout",
    "409": "Conflict",
    "413": "TooLarge",
    "415": "Encoding",
    "500": "Internal",
    "503": "Unavailable",
}


def _operation(operation_id: str, summary: str, reply: str, errors: tuple[str, ...]) -> dict[str, Any]:
    content = {"application/json": {"schema": {"$ref": f"{_SCHEMA}{reply}"}}}
    refused = {status: {"$ref": f"#/components/responses/{_ERRORS[status]}"} for status in errors}
    return {
        "operationId": operation_id,
        "summary": summary,
        "responses": {"200": {"description": "Done", "content": content}, **refused},
    }
