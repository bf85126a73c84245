import json
import re
from collections.abc import Iterator
from typing import Any

import pytest

from serving.errors import ServingError
from serving.rest.openapi import openapi_document
from serving.rest.replies import HTTP_STATUS
from serving.rest.routes import find_route

DOCUMENT = openapi_document(admin=True)
# OPTIONS is answered everywhere, for browsers, and HEAD wherever GET is.
METHODS = ("get", "put", "post", "delete", "patch", "trace")
EXAMPLES = {"name": "m", "version": "3", "label": "stable"}


def walk(value: Any) -> Iterator[Any]:
    yield value
    children = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    for child in children:
        yield from walk(child)


def operations() -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, item in DOCUMENT["paths"].items():
        for method in METHODS:
            if method in item:
                yield path, method, item[method]


def test_the_document_is_json() -> None:
    assert json.loads(json.dumps(DOCUMENT)) == DOCUMENT
    assert DOCUMENT["openapi"] == "3.1.0"


def test_every_reference_leads_somewhere_and_every_component_is_used() -> None:
    references = {part["$ref"] for part in walk(DOCUMENT) if isinstance(part, dict) and "$ref" in part}
    components = {
        f"#/components/{section}/{name}" for section, entries in DOCUMENT["components"].items() for name in entries
    }
    assert references == components


def test_every_operation_has_a_name_of_its_own_and_says_what_it_answers() -> None:
    names = [operation["operationId"] for _, _, operation in operations()]
    assert len(names) == len(set(names)) == 45
    for path, method, operation in operations():
        assert {"200", "405"} <= set(operation["responses"]), (path, method)
        assert operation["summary"]


def test_every_parameter_of_a_path_is_declared() -> None:
    for path, item in DOCUMENT["paths"].items():
        names = [reference["$ref"].rsplit("/", 1)[1] for reference in item.get("parameters", ())]
        declared = {DOCUMENT["components"]["parameters"][name]["name"] for name in names}
        assert declared == set(re.findall(r"{(\w+)}", path))


@pytest.mark.parametrize(("path", "method"), [(path, method) for path, method, _ in operations()])
def test_every_operation_is_routed_and_no_other_method(path: str, method: str) -> None:
    url = path.format(**EXAMPLES)
    assert find_route(method.upper(), url, "").action
    for other in METHODS:
        if other not in DOCUMENT["paths"][path]:
            with pytest.raises(ServingError, match="Malformed request"):
                find_route(other.upper(), url, "")


def test_every_status_that_inference_may_answer_is_described() -> None:
    described = set(DOCUMENT["paths"]["/v1/models/{name}:predict"]["post"]["responses"])
    # 401, 403 and 409 need features that don't exist yet, 499 is never read by anybody
    assert {str(status) for status in HTTP_STATUS.values()} - described == {"401", "403", "409", "499"}
