"""The URLs of the models that are served, with requests as their signatures have them, for the OpenAPI document."""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any
from urllib.parse import quote

from serving.rest.model_schemas import Request, requests_of
from serving.rest.v2.model_schemas import v2_requests_of
from serving.types import ServedVersion

Schema = dict[str, Any]
MakeOperation = Callable[[str, str, Schema], Schema]

# URLs of single models in one document: some hundred kilobytes. Of further models only the general form is given.
MAX_MODEL_PATHS = 400
MAX_LISTED_NAMES = 1000


class ModelPaths:
    """Collects what the document says of the versions that answer requests.

    Args:
        operations: For each verb what makes an operation of its identifier, the model's name and its body.

    Attributes:
        paths: The URLs, each with its operations.
        schemas: The bodies, one for each version and verb.
        complete: Whether all models found room.
    """

    def __init__(self, operations: Mapping[str, MakeOperation]) -> None:
        self._operations = operations
        self.paths: Schema = {}
        self.schemas: Schema = {}
        self.complete = True

    def add(self, versions: Sequence[ServedVersion]) -> None:
        """Adds as many as there is room for."""
        for version in sorted(versions, key=lambda version: not version.newest):
            urls = {**_v1_urls(version), **_v2_urls(version)}
            requests = {**requests_of(version), **{f"{verb}V2": each for verb, each in v2_requests_of(version).items()}}
            bodies = [(url, verb) for url, verb in urls.items() if verb in requests]
            if len(self.paths) + len(bodies) > MAX_MODEL_PATHS:
                self.complete = False
                return
            contents = {verb: self._content(version, verb, request) for verb, request in requests.items()}
            self._add_labels(version)
            for url, verb in bodies:
                self.paths[url] = {
                    "post": self._operations[verb](_operation_id(verb, url), version.name, contents[verb])
                }

    def _add_labels(self, version: ServedVersion) -> None:
        """What is told of a version by its labels."""
        for label in version.labels:
            base = f"/v1/models/{quote(version.name, safe='')}/labels/{quote(label, safe='')}"
            for url, what in ((base, "status"), (f"{base}/metadata", "metadata")):
                self.paths[url] = {"get": self._operations[what](_operation_id(what, base), version.name, {})}

    def _content(self, version: ServedVersion, verb: str, request: Request) -> Schema:
        """The body, whose schema becomes a component: several URLs share it."""
        title = f"{_identifier(version.name)}.{version.version}.{verb}"
        name = title
        while name in self.schemas:
            name += "_"
        self.schemas[name] = request.schema
        content: Schema = {"schema": {"$ref": f"#/components/schemas/{name}"}}
        if request.example is not None:
            content["example"] = request.example
        return {"application/json": content}


def _v1_urls(version: ServedVersion) -> dict[str, str]:
    base = f"/v1/models/{quote(version.name, safe='')}"
    selectors = [f"/versions/{version.version}", *(f"/labels/{quote(label, safe='')}" for label in version.labels)]
    if version.newest:
        selectors.insert(0, "")
    return {
        f"{base}{selector}:{verb}": verb
        for selector in selectors
        for verb in ("predict", "explain", "classify", "regress")
    }


def _v2_urls(version: ServedVersion) -> dict[str, str]:
    base = f"/v2/models/{quote(version.name, safe='')}"
    selectors = [f"/versions/{version.version}"]
    if version.newest:
        selectors.insert(0, "")
    return {f"{base}{selector}/{verb}": f"{verb}V2" for selector in selectors for verb in ("infer", "explain")}


def _identifier(text: str) -> str:
    return re.sub(r"[^A-Za-z0-9._-]", "_", text)


def _operation_id(verb: str, url: str) -> str:
    return f"{verb}{_identifier(url.partition('/models')[2])}"
