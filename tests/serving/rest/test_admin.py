import asyncio
import contextlib
import json

import httpx
import pytest

from serving.administration import Administration
from serving.config.models import ModelConfig
from serving.data_plane import DataPlane
from serving.rest.app import create_app
from tests.serving.bench import ServingBench, settle
from tests.serving.bundles import write_bundle

INSTANCES = {"instances": [[1.0, 2.0, 3.0, 4.0]]}


@pytest.fixture
def root(tmp_path):
    write_bundle(tmp_path / "a", 1)
    for version in (1, 2):
        write_bundle(tmp_path / "b", version)
    return tmp_path


def ask(root, test, *, enabled=True):
    """Runs a test with a client of a server of model `a`, whose models can be changed."""

    async def serve_and_test():
        bench = ServingBench(models=[ModelConfig("a", root / "a")])
        plane = DataPlane(bench.manager, administration=Administration(bench.manager, enabled=enabled))
        await bench.manager.start(poll_wait_s=0)
        transport = httpx.ASGITransport(app=create_app(plane, bench.metrics))
        async with contextlib.AsyncExitStack() as stack:
            stack.push_async_callback(bench.manager.stop)
            client = await stack.enter_async_context(httpx.AsyncClient(transport=transport, base_url="http://server"))
            await test(client, bench)

    asyncio.run(asyncio.wait_for(serve_and_test(), 20))


def test_a_model_is_added_asked_changed_and_removed(root):
    async def test(client, bench):
        url = "/v1/admin/models/b"
        answer = await client.put(url, json={"base_path": str(root / "b")})
        described = {
            "name": "b",
            "base_path": str(root / "b"),
            "model_platform": "tensorflow",
            "model_version_policy": {"latest": {"num_versions": 1}},
            "version_labels": {},
        }
        assert (answer.status_code, answer.json()) == (200, described)
        assert (await client.post("/v1/models/b:predict", json=INSTANCES)).status_code == 200

        policy = {"specific": {"versions": ["1", "2"]}}
        changed = {**described, "model_version_policy": policy, "version_labels": {"old": "1", "new": "2"}}
        assert (await client.put(url, json=changed)).json() == changed
        assert (await client.get(url)).json() == changed
        assert (await client.post("/v1/models/b/labels/old:predict", json=INSTANCES)).status_code == 200
        assert (await client.get("/v1/models/b/labels/old/metadata")).json()["model_spec"]["version"] == "1"

        assert (await client.delete(url)).json() == {}
        assert (await client.post("/v1/models/b:predict", json=INSTANCES)).status_code == 404
        assert (await client.get(url)).status_code == 404
        assert (await client.delete(url)).status_code == 404
        assert (await client.post("/v1/models/a:predict", json=INSTANCES)).status_code == 200
        await settle(lambda: set(bench.states("b").values()) == {"END"})

    ask(root, test)


@pytest.mark.parametrize(
    ("method", "url", "body", "status", "error"),
    [
        ("PUT", "models/c", {"base_path": "/nowhere"}, 409, "1 model(s) did not become available: {{name: c} due to"),
        ("PUT", "models/c", {"base_path": "c"}, 400, "Expected model c to have an absolute path or URI"),
        ("PUT", "models/c", [1], 400, "JSON Value: "),
        ("PUT", "models/a", {"base_path": "/x", "name": "b"}, 400, "`name` must be that of the URL"),
        ("POST", "models/a", {}, 405, "Malformed request: POST /v1/admin/models/a. Use GET, PUT, DELETE."),
        ("GET", "reload", None, 405, "Malformed request: GET /v1/admin/reload. Use POST."),
        ("GET", "models", None, 400, "Malformed request: GET /v1/admin/models. There is /v1/admin/models/{name}"),
        ("GET", "models/none", None, 404, "Model none must be one that is served."),
    ],
)
def test_what_cannot_be_done_is_refused(root, method, url, body, status, error):
    async def test(client, bench):
        content = None if body is None else json.dumps(body)
        answer = await client.request(method, f"/v1/admin/{url}", content=content)
        assert answer.status_code == status
        assert answer.json()["error"].startswith(error)
        assert set(bench.manager.served()) == {"a"}

    ask(root, test)


def test_what_is_logged_of_a_model_has_the_name_that_it_is_served_under(root, caplog):
    caplog.set_level("INFO")

    async def test(client, _bench):
        caplog.clear()
        answer = await client.put("/v1/admin/models/extra", json={"base_path": str(root / "a")})
        assert answer.status_code == 200

    ask(root, test)
    loaded = [record.getMessage() for record in caplog.records if record.name.startswith("serving.")]
    assert any(line.startswith("Model extra version 1 is served") for line in loaded)
    assert not [line for line in loaded if "odel dense" in line]  # the name in the bundle's manifest


def test_a_reload_looks_at_the_folders_at_once(root):
    async def test(client, bench):
        write_bundle(root / "a", 5)
        assert (await client.post("/v1/admin/reload")).json() == {}
        assert bench.manager.served()["a"].version == 5

    ask(root, test)


@pytest.mark.parametrize(
    ("method", "url"), [("GET", "models/a"), ("PUT", "models/a"), ("DELETE", "models/a"), ("POST", "reload")]
)
def test_nothing_can_be_changed_unless_the_flag_is_given(root, method, url):
    async def test(client, bench):
        answer = await client.request(method, f"/v1/admin/{url}", json={"base_path": str(root / "b")})
        assert answer.status_code == 404
        assert answer.json()["error"].endswith("Start the server with --enable_admin_api.")
        assert bench.manager.served()["a"].version == 1
        assert "/v1/admin/reload" not in (await client.get("/openapi.json")).json()["paths"]

    ask(root, test, enabled=False)


def test_a_change_is_seen_through_when_the_client_leaves(root):
    async def test(client, bench):
        change = asyncio.create_task(client.put("/v1/admin/models/b", json={"base_path": str(root / "b")}))
        while "b" not in bench.manager.configs():
            await asyncio.sleep(0)
        change.cancel()
        await settle(lambda: "b" in bench.manager.served())

    ask(root, test)
