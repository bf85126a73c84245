import pytest

from serving.rest.guard import is_admin_path
from tests.serving.security.servers import BODY, URL, make_options, rest, run, running

CORS = {
    "access-control-allow-origin": "*",
    "access-control-allow-methods": "POST, GET",
    "access-control-allow-headers": "Content-Type",
}


@pytest.mark.parametrize("enabled", [True, False])
def test_web_pages_may_read_answers_where_that_is_enabled(tmp_path, enabled):
    options = make_options(tmp_path, rest_api_enable_cors_support=enabled)

    async def test() -> None:
        async with running(options), rest(options) as client:
            replies = [
                await client.post(URL, json=BODY, headers={"Origin": "https://page.example"}),
                await client.post(URL, json={}),
                await client.options(URL, headers={"Origin": "http://page.example"}),
                await client.options("/v2/models/dense/infer", headers={"Origin": "http://page.example"}),
                await client.options(URL, headers={"Origin": "null"}),
                await client.options("/v1/anything"),
                await client.get("/nope"),
            ]
            assert [reply.status_code for reply in replies] == [200, 400, 200, 200, 400, 400, 404]
            for reply in replies:
                assert {name: reply.headers.get(name) for name in CORS} == (CORS if enabled else dict.fromkeys(CORS))
            assert [reply.content for reply in replies[2:6]] == [b""] * 4

    run(test)


def test_web_pages_can_send_tokens_where_they_are_needed(tmp_path):
    file = tmp_path / "tokens"
    file.write_text("page:page-0123456789abcdef")
    options = make_options(tmp_path, rest_api_enable_cors_support=True, auth_tokens_file=file)

    async def test() -> None:
        async with running(options), rest(options) as client:
            preflight = await client.options(URL, headers={"Origin": "https://page.example"})
            assert preflight.status_code == 200
            assert preflight.headers["access-control-allow-headers"] == "Content-Type, Authorization"
            refused = await client.post(URL, json=BODY)
            assert refused.status_code == 401
            assert refused.headers["access-control-allow-origin"] == "*"

    run(test)


def test_an_admin_path_is_recognized_however_it_is_spelled():
    for path in ("/v1/admin", "/v1/admin/", "/v1/admin/models/x", "/V1/Admin/x", "/v1/%61dmin/x", "/v1/admin%2Fx"):
        assert is_admin_path(path), path
    assert is_admin_path("/v2/repository/models/dense/unload")
    for path in ("/v1/models/admin", "/v1/administration", "/v2/repository/index", "/v1/models/dense:predict"):
        assert not is_admin_path(path), path
