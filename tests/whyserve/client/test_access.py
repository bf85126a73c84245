"""Tokens and certificates, against a real server that asks for both."""

import asyncio

import numpy as np
import pytest
import trustme

from tests.serving.bundles import kernel_of, softmax
from tests.serving.security.servers import X, make_options, run, running, write_ssl_config
from tests.serving.test_server import HOST
from tests.whyserve.conftest import run_whyserve
from whyserve.client.access import Access
from whyserve.client.grpc import GrpcClient
from whyserve.client.rest import RestClient
from whyserve.errors import CommandError

TOKEN = "0123456789abcdef0123"  # noqa: S105


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A folder with a server's SSL configuration and tokens, and what a client needs."""
    folder = tmp_path_factory.mktemp("access")
    authority = trustme.CA(key_type=trustme.KeyType.ECDSA)
    server = authority.issue_cert(HOST, key_type=trustme.KeyType.ECDSA)
    client = authority.issue_cert("client@example.org", key_type=trustme.KeyType.ECDSA)
    write_ssl_config(folder / "ssl", server, clients=authority)
    (folder / "tokens").write_text(f"somebody:{TOKEN}\n")
    authority.cert_pem.write_to_path(folder / "ca.pem")
    client.private_key_and_cert_chain_pem.write_to_path(folder / "client.pem")
    (folder / "token").write_text(f"{TOKEN}\n")
    return folder


def whole(files, **changes):
    parts = {"token": TOKEN, "ca_file": files / "ca.pem", "cert_file": files / "client.pem"}
    return Access(**{**parts, **changes})


def ask(tmp_path, files, question):
    """What `question` gives, asked in a thread while the server runs."""
    options = make_options(tmp_path, ssl_config_file=files / "ssl", auth_tokens_file=files / "tokens")
    answers = []

    async def test():
        async with running(options):
            answers.append(await asyncio.to_thread(question, options))

    run(test)
    return answers[0]


def predict(client):
    try:
        return client.predict({"x": X}).outputs["probabilities"]
    finally:
        client.close()


def clients(options, access):
    yield RestClient(f"https://{HOST}:{options.rest_api_port}", "dense", access=access)
    yield GrpcClient(f"{HOST}:{options.port}", "dense", tls=True, access=access)


def test_token_and_certificates_let_in_over_both_transports(tmp_path, files):
    received = ask(tmp_path, files, lambda options: [predict(each) for each in clients(options, whole(files))])
    for probabilities in received:
        np.testing.assert_allclose(probabilities, softmax(X @ kernel_of(1)), rtol=1e-5)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"token": None}, "bearer token. Received: none"),
        ({"token": "another-token-than-that"}, "bearer token. Received: an unknown one"),
        ({"cert_file": None}, "No server answers"),
        ({"ca_file": None}, "No server answers"),
    ],
)
def test_whatever_is_missing_is_said_over_both_transports(tmp_path, files, changes, message):
    def question(options):
        messages = []
        for client in clients(options, whole(files, **changes)):
            with pytest.raises(CommandError) as refused:
                predict(client)
            messages.append(str(refused.value))
        return messages

    assert all(message in text for text in ask(tmp_path, files, question))


def test_a_file_that_is_no_certificate_is_refused(tmp_path):
    (tmp_path / "ca.pem").write_text("none")
    with pytest.raises(CommandError, match=r"Expected PEM files.*ca\.pem"):
        Access(ca_file=tmp_path / "ca.pem").ssl_context()


@pytest.mark.slow
@pytest.mark.parametrize("scheme", ["https", "grpcs"])
def test_the_command_line_takes_them_from_files(tmp_path, files, scheme):
    np.save(tmp_path / "x.npy", X)

    def question(options):
        port = options.rest_api_port if scheme == "https" else options.port
        access = ("--token-file", files / "token", "--ca-file", files / "ca.pem", "--cert-file", files / "client.pem")
        return run_whyserve(
            "predict", "dense", "--input", tmp_path / "x.npy", "--url", f"{scheme}://{HOST}:{port}", *access, "--json"
        ).stdout

    assert '"probabilities"' in ask(tmp_path, files, question)
