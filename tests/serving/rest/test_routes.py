import pytest

from serving.errors import Code, ServingError
from serving.rest.replies import HttpError
from serving.rest.routes import Route, V2Route, find_route
from serving.types import ModelSpec


@pytest.mark.parametrize(
    ("method", "path", "route"),
    [
        ("GET", "/healthz", Route("liveness")),
        ("GET", "/readyz", Route("readiness")),
        ("GET", "/monitoring/prometheus/metrics", Route("metrics")),
        ("GET", "/openapi.json", Route("openapi")),
        ("GET", "/v1/models", Route("models")),
        ("GET", "/v1/models/m", Route("status", ModelSpec("m"))),
        ("GET", "/v1/models/m/versions/3", Route("status", ModelSpec("m", version=3))),
        ("GET", "/v1/models/m/labels/stable", Route("status", ModelSpec("m", label="stable"))),
        ("GET", "/v1/models/m/metadata", Route("metadata", ModelSpec("m"))),
        ("GET", "/v1/models/m/versions/3/metadata", Route("metadata", ModelSpec("m", version=3))),
        ("POST", "/v1/models/m:predict", Route("predict", ModelSpec("m"))),
        ("POST", "/v1/models/m/versions/007:explain", Route("explain", ModelSpec("m", version=7))),
        ("POST", "/v1/models/m/labels/a%2Fb:predict", Route("predict", ModelSpec("m", label="a/b"))),
        ("POST", "/v1/models/m:classify", Route("classify", ModelSpec("m"))),
        ("POST", "/V1/Models/M:PREDICT", Route("predict", ModelSpec("M"))),
        ("POST", "/v1/models/caf%C3%A9%3A1:predict", Route("predict", ModelSpec("café:1"))),
        ("HEAD", "/healthz", Route("liveness")),
        ("HEAD", "/monitoring/prometheus/metrics", Route("metrics")),
        ("HEAD", "/v1/models/m", Route("status", ModelSpec("m"))),
        ("HEAD", "/v2/health/ready", V2Route("v2 ready")),
        ("OPTIONS", "/v1/models", Route("preflight")),
        ("OPTIONS", "/v1/models/m:predict", Route("preflight")),
        ("OPTIONS", "/v2/models/m/infer", Route("preflight")),
        ("GET", f"/v1/models/m/versions/{2**63 - 1}", Route("status", ModelSpec("m", version=2**63 - 1))),
    ],
)
def test_urls_name_an_action_and_a_model(method: str, path: str, route: Route) -> None:
    assert find_route(method, path, "") == route


@pytest.mark.parametrize(
    ("method", "path", "query", "text"),
    [
        ("GET", "/v1/models/m/versions/x", "", "Malformed request: GET /v1/models/m/versions/x"),
        ("POST", "/v1/models/m:multiInference", "", "Malformed request: POST /v1/models/m:multiInference"),
        ("POST", "/v1/models/m:predict", "a=b", "Malformed request: POST /v1/models/m:predict?a=b"),
        ("GET", "/v1/models/", "", "Malformed request: GET /v1/models/"),
        ("GET", "/v1/other", "", "Malformed request: GET /v1/other"),
        ("GET", "/v1/models/a/b", "", "Malformed request: GET /v1/models/a/b"),
        ("GET", f"/v1/models/m/versions/{2**63}", "", f"A version must be below 2^63. Received: {2**63}."),
        ("GET", f"/v1/models/m/versions/{'9' * 5000}", "", f"A version must be below 2^63. Received: {'9' * 40}."),
    ],
)
def test_malformed_urls_are_refused_in_tensorflow_serving_s_words(
    method: str, path: str, query: str, text: str
) -> None:
    with pytest.raises(ServingError) as caught:
        find_route(method, path, query)
    assert (caught.value.code, caught.value.message) == (Code.INVALID_ARGUMENT, text)


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("GET", "/v1/models/m:predict", "POST"),
        ("HEAD", "/v1/models/m:predict", "POST"),
        ("POST", "/v1/models/m", "GET"),
        ("DELETE", "/v1/models/m/metadata", "GET"),
        ("POST", "/healthz", "GET"),
        ("PUT", "/v1/models", "GET"),
        ("OPTIONS", "/healthz", "GET"),
        ("POST", "/v1/admin/models/m", "GET, PUT, DELETE"),
    ],
)
def test_a_wrong_method_is_told_the_right_one(method: str, path: str, allowed: str) -> None:
    with pytest.raises(HttpError) as caught:
        find_route(method, path, "")
    assert caught.value.status == 405
    assert caught.value.headers == ((b"allow", allowed.replace("GET", "GET, HEAD").encode()),)
    assert caught.value.message == f"Malformed request: {method} {path}. Use {allowed}."


def test_other_paths_are_not_found_and_told_the_known_ones() -> None:
    with pytest.raises(
        HttpError, match=r"No such URL: GET /nope\. Models are under /v1/models and /v2/models; .* /openapi\.json"
    ) as caught:
        find_route("GET", "/nope", "")
    assert caught.value.status == 404
