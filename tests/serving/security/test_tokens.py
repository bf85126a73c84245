import asyncio
import hashlib

import grpc
import pytest

from serving.errors import Code, ServingError, StartError
from serving.security import reload
from serving.security.tokens import TokenFile
from tests.serving.security.servers import BODY, URL, ask_grpc, grpc_error, make_options, rest, run, running

READER, EXPLAINER, OPERATOR = "reader-0123456789abcdef", "explainer-0123456789abcdef", "operator-0123456789abcdef"
NEW = "new-0123456789abcdef"
TOKENS = f"""
# who may ask
reader:{READER} predict
explainer:sha256:{hashlib.sha256(EXPLAINER.encode()).hexdigest()}
operator:{OPERATOR} admin
"""
RELOAD = "/tensorflow.serving.ModelService/HandleReloadConfigRequest"
HEALTH = "/grpc.health.v1.Health/Check"


@pytest.fixture
def tokens(tmp_path):
    path = tmp_path / "tokens"
    path.write_text(TOKENS)
    path.chmod(0o600)
    return path


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def test_a_token_leads_to_its_name_and_scopes(tokens):
    file = TokenFile(tokens)
    found = [file.caller(f"{scheme} {token}") for scheme, token in (("Bearer", READER), ("bearer", EXPLAINER))]
    assert [(caller.name, caller.scopes) for caller in found] == [
        ("reader", {"predict"}),
        ("explainer", {"predict", "explain"}),
    ]
    assert file.caller(b"BEARER " + OPERATOR.encode()).may("explain")


@pytest.mark.parametrize("value", [None, "", "Bearer", "Bearer ", "Basic abc", f"Bearer {READER}x", f"Token {READER}"])
def test_anything_else_is_unauthenticated(tokens, value):
    with pytest.raises(ServingError, match=r"Expected a (known )?bearer token\. Received: ") as caught:
        TokenFile(tokens).caller(value)
    assert caught.value.code == Code.UNAUTHENTICATED
    assert READER not in caught.value.message


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("# nothing", "must have a token, `name:token` on a line"),
        (READER, "must have lines `name:token`.*line 1"),
        (f"a b:{READER}", "must have lines `name:token`.*line 1"),
        ("short:0123456789", "A token must have at least 16 characters.*line 1"),
        (f"odd:{READER}!", "A token must have at least 16 characters.*line 1"),
        ("digest:sha256:abc", "A digest must be the 64 hex digits.*line 1"),
        (f"\nscope:{READER} predict,write", "Scopes must be of predict, explain, admin.*line 2: 'write'"),
        (f"one:{READER}\ntwo:{READER}", "must have every token once.*line 2 again"),
    ],
)
def test_a_file_that_cannot_be_understood_is_refused_without_repeating_a_token(tokens, content, message):
    tokens.write_text(content)
    with pytest.raises(StartError, match=message) as caught:
        TokenFile(tokens)
    assert READER[:10] not in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_file_that_everybody_can_read_is_warned_of(tokens, caplog):
    tokens.chmod(0o644)
    TokenFile(tokens)
    assert "Every user of this machine can read the tokens" in caplog.text
    caplog.clear()
    tokens.write_text(f"hashed:sha256:{'0' * 64}")
    TokenFile(tokens)
    assert caplog.text == ""


def test_rest_asks_for_a_token_and_minds_its_scopes(tmp_path, tokens):
    options = make_options(tmp_path, auth_tokens_file=tokens)

    async def test() -> None:
        async with running(options), rest(options) as client:
            for headers in ({}, bearer("wrong-0123456789abcdef")):
                refused = await client.post(URL, json=BODY, headers=headers)
                assert refused.status_code == 401
                assert refused.headers["www-authenticate"] == 'Bearer realm="whyserve"'
                assert refused.json()["error"].startswith("Expected a ")
            for path in ("/v1/models", "/v1/models/dense", "/openapi.json", "/monitoring/prometheus/metrics", "/nope"):
                assert (await client.get(path)).status_code == 401, path
            for path in ("/healthz", "/readyz", "/v2/health/live", "/v2/health/ready"):
                assert (await client.get(path)).status_code == 200, path
            for token in (READER, EXPLAINER, OPERATOR):
                assert (await client.post(URL, json=BODY, headers=bearer(token))).status_code == 200
            explain = "/v1/models/dense:explain"
            for path, body in ((explain, BODY), (URL, {**BODY, "signature_name": "explain"})):
                refused = await client.post(path, json=body, headers=bearer(READER))
                assert refused.status_code == 403, path
                assert 'error="insufficient_scope"' in refused.headers["www-authenticate"]
                assert "A token with the scope `explain` is needed. Received: 'reader'" in refused.json()["error"]
            for token in (EXPLAINER, OPERATOR):
                assert (await client.post(explain, json=BODY, headers=bearer(token))).status_code == 200
            for path in (
                "/v1/admin/models",
                "/v1/ADMIN/models",
                "/v1/%61dmin/models",
                "/v2/repository/models/dense/load",
            ):
                assert (await client.post(path, headers=bearer(EXPLAINER))).status_code == 403, path
                assert (await client.post(path, headers=bearer(OPERATOR))).status_code not in (401, 403), path
            text = (await client.get("/monitoring/prometheus/metrics", headers=bearer(OPERATOR))).text
            assert 'whyserve_caller_requests_total{caller="reader"} 3.0' in text
            refusals = [line for line in text.splitlines() if "whyserve_requests_total" in line and "UNAUTH" in line]
            assert [line.split()[-1] for line in refusals] == ["7.0"], (
                "two wrong requests, and five paths without a token"
            )
            document = (await client.get("/openapi.json", headers=bearer(READER))).json()
            assert document["security"] == [{"token": []}]
            assert document["paths"]["/readyz"]["get"]["security"] == []
            assert {"401", "403"} <= set(document["paths"]["/v1/models/dense:predict"]["post"]["responses"])

    run(test)


def test_grpc_asks_for_a_token_and_minds_its_scopes(tmp_path, tokens):
    options = make_options(tmp_path, auth_tokens_file=tokens)

    async def test() -> None:
        async with running(options):
            for token in (None, "wrong-0123456789abcdef"):
                error = await grpc_error(options, token=token)
                assert error.code() == grpc.StatusCode.UNAUTHENTICATED
                assert error.details().startswith("Expected a ")
            await ask_grpc(options, method=HEALTH, request=b"")
            for token in (READER, EXPLAINER, OPERATOR):
                assert b"probabilities" in await ask_grpc(options, token=token)
            error = await grpc_error(options, token=READER, signature_name="explain_target")
            assert error.code() == grpc.StatusCode.PERMISSION_DENIED
            assert "scope `explain` is needed" in error.details()
            await ask_grpc(options, token=EXPLAINER, signature_name="explain")
            error = await grpc_error(options, token=EXPLAINER, method=RELOAD, request=b"")
            assert error.code() == grpc.StatusCode.PERMISSION_DENIED
            assert "scope `admin` is needed" in error.details()
            error = await grpc_error(options, token=OPERATOR, method=RELOAD, request=b"")
            assert error.code() == grpc.StatusCode.INVALID_ARGUMENT
            error = await grpc_error(options, token=READER, method="/no.such/Method", request=b"")
            assert error.code() == grpc.StatusCode.UNIMPLEMENTED

    run(test)


def test_metrics_can_be_left_open(tmp_path, tokens):
    options = make_options(tmp_path, auth_tokens_file=tokens, metrics_need_token=False)

    async def test() -> None:
        async with running(options), rest(options) as client:
            assert (await client.get("/monitoring/prometheus/metrics")).status_code == 200
            assert (await client.get("/v1/models")).status_code == 401
            document = (await client.get("/openapi.json", headers=bearer(READER))).json()
            assert document["paths"]["/monitoring/prometheus/metrics"]["get"]["security"] == []

    run(test)


def test_a_token_that_is_taken_back_is_refused_at_once(tmp_path, tokens, monkeypatch, caplog):
    monkeypatch.setattr(reload.Watcher.run, "__kwdefaults__", {"poll_s": 0.01})
    options = make_options(tmp_path, auth_tokens_file=tokens)

    async def test() -> None:
        async with running(options), rest(options) as client:
            assert (await client.get("/v1/models", headers=bearer(READER))).status_code == 200
            tokens.write_text("")
            while "The list of tokens stays as it was: `auth_tokens_file` must have a token" not in caplog.text:
                await asyncio.sleep(0.01)
            assert (await client.get("/v1/models", headers=bearer(READER))).status_code == 200
            tokens.write_text(f"new:{NEW}")
            while (await client.get("/v1/models", headers=bearer(NEW))).status_code != 200:
                await asyncio.sleep(0.01)
            assert (await client.get("/v1/models", headers=bearer(READER))).status_code == 401
            assert (await grpc_error(options, token=READER)).code() == grpc.StatusCode.UNAUTHENTICATED

    run(test)


def test_tokens_over_plain_http_are_warned_of(tmp_path, tokens, caplog):
    async def test() -> None:
        async with running(make_options(tmp_path, auth_tokens_file=tokens)):
            pass

    run(test)
    assert "Tokens travel unencrypted over REST" in caplog.text
