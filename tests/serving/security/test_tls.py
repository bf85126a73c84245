"""TLS and mutual TLS with real certificates over real sockets."""

import asyncio
import os
import ssl
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest
import trustme

from serving.errors import StartError
from serving.security import reload
from serving.security.tls import TlsFile, read_ssl_config
from tests.serving.security.servers import (
    BODY,
    URL,
    ask_grpc,
    grpc_error,
    make_options,
    rest,
    run,
    running,
    write_ssl_config,
)
from tests.serving.test_server import HOST


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA(key_type=trustme.KeyType.ECDSA)


@pytest.fixture(scope="module")
def certificate(authority: trustme.CA) -> trustme.LeafCert:
    return authority.issue_cert(HOST, "localhost", key_type=trustme.KeyType.ECDSA)


def client_context(authority: trustme.CA, certificate: trustme.LeafCert | None = None) -> ssl.SSLContext:
    context = ssl.create_default_context()
    authority.configure_trust(context)
    if certificate is not None:
        certificate.configure_cert(context)
    return context


def client_credentials(authority: trustme.CA, certificate: trustme.LeafCert | None = None) -> Any:
    pair = (None, None)
    if certificate is not None:
        pair = (certificate.private_key_pem.bytes(), b"".join(pem.bytes() for pem in certificate.cert_chain_pems))
    return grpc.ssl_channel_credentials(authority.cert_pem.bytes(), *pair)


def test_both_transports_speak_tls_and_nothing_else(tmp_path, authority, certificate, caplog):
    options = make_options(tmp_path, ssl_config_file=write_ssl_config(tmp_path / "ssl", certificate))

    async def test() -> None:
        async with running(options):
            async with rest(options, tls=client_context(authority)) as client:
                assert (await client.post(URL, json=BODY)).status_code == 200
            assert b"probabilities" in await ask_grpc(options, credentials=client_credentials(authority))
            async with rest(options) as client:
                with pytest.raises(httpx.TransportError):
                    await client.post(URL, json=BODY)
            assert (await grpc_error(options)).code() == grpc.StatusCode.UNAVAILABLE

    run(test)
    assert "REST speaks TLS too, unlike TensorFlow Serving's. --rest_api_ssl=false makes it plain" in caplog.text


def test_rest_stays_plain_on_request(tmp_path, authority, certificate, caplog):
    file = write_ssl_config(tmp_path / "ssl", certificate)
    options = make_options(tmp_path, ssl_config_file=file, rest_api_ssl=False)

    async def test() -> None:
        async with running(options), rest(options) as client:
            assert (await client.post(URL, json=BODY)).status_code == 200
            await ask_grpc(options, credentials=client_credentials(authority))

    run(test)
    assert "REST is plain HTTP beside gRPC over TLS" in caplog.text


def test_old_tls_is_refused(tmp_path, authority, certificate):
    context = TlsFile(write_ssl_config(tmp_path / "ssl", certificate)).context("h2")
    assert context.minimum_version == ssl.TLSVersion.TLSv1_2


def test_mutual_tls_lets_in_whoever_the_authority_vouches_for(tmp_path, authority, certificate):
    clients, others = trustme.CA(), trustme.CA()
    good, bad = clients.issue_cert("client"), others.issue_cert("client")
    options = make_options(tmp_path, ssl_config_file=write_ssl_config(tmp_path / "ssl", certificate, clients=clients))

    async def test() -> None:
        async with running(options):
            async with rest(options, tls=client_context(authority, good)) as client:
                assert (await client.post(URL, json=BODY)).status_code == 200
            await ask_grpc(options, credentials=client_credentials(authority, good))
            for refused in (None, bad):
                async with rest(options, tls=client_context(authority, refused)) as client:
                    with pytest.raises((httpx.TransportError, ssl.SSLError)):
                        await client.get("/healthz")
                error = await grpc_error(options, credentials=client_credentials(authority, refused))
                assert error.code() == grpc.StatusCode.UNAVAILABLE

    run(test)


def test_certificates_are_renewed_without_dropping_a_connection(tmp_path, authority, certificate, monkeypatch, caplog):
    monkeypatch.setattr(reload.Watcher.run, "__kwdefaults__", {"poll_s": 0.01})
    caplog.set_level("INFO")
    clients, new_clients, new_authority = trustme.CA(), trustme.CA(), trustme.CA()
    client, new_client = clients.issue_cert("client"), new_clients.issue_cert("client")
    file = write_ssl_config(tmp_path / "ssl", certificate, clients=clients)
    options = make_options(tmp_path, ssl_config_file=file)

    async def logged(text: str) -> None:
        while text not in caplog.text:
            await asyncio.sleep(0.01)

    async def test() -> None:
        channel = grpc.aio.secure_channel(f"{HOST}:{options.port}", client_credentials(authority, client))
        old = rest(options, tls=client_context(authority, client))
        async with running(options), old, channel:
            health = channel.unary_unary("/grpc.health.v1.Health/Check")
            await health(b"", timeout=10)
            assert (await old.post(URL, json=BODY)).status_code == 200
            file.write_text("server_key: 'nonsense'")
            await logged("TLS stays as it was: `ssl_config_file` must have `server_cert`")
            await ask_grpc(options, credentials=client_credentials(authority, client))
            write_ssl_config(file, new_authority.issue_cert(HOST), clients=new_clients)
            await logged("TLS was read again")
            assert (await old.post(URL, json=BODY)).status_code == 200, "an open connection stays"
            await health(b"", timeout=10)
            async with rest(options, tls=client_context(new_authority, new_client)) as fresh:
                assert (await fresh.post(URL, json=BODY)).status_code == 200
            await ask_grpc(options, credentials=client_credentials(new_authority, new_client))
            for former in (
                (authority, new_client),  # the server's certificate is the new one
                (new_authority, client),  # and so is the authority that clients need
            ):
                async with rest(options, tls=client_context(*former)) as refused:
                    with pytest.raises((httpx.TransportError, ssl.SSLError)):
                        await refused.get("/healthz")
                error = await grpc_error(options, credentials=client_credentials(*former))
                assert error.code() == grpc.StatusCode.UNAVAILABLE

    run(test)


def test_a_pem_text_may_stand_over_several_lines(tmp_path, certificate):
    key = certificate.private_key_pem.bytes().decode()
    chain = certificate.cert_chain_pems[0].bytes().decode()
    path = tmp_path / "ssl"
    path.write_text(f'# "quoted" in a comment\nserver_key: \'{key}\'\r\nserver_cert: "{chain}"\nclient_verify: false\n')
    read = read_ssl_config(path)
    assert (read.server_key, read.server_cert, read.client_verify) == (key, chain, False)
    assert key not in repr(read)
    TlsFile(path)


@pytest.mark.parametrize("memory", [True, False])
def test_the_key_is_nowhere_on_the_disk_afterwards(tmp_path, certificate, monkeypatch, memory):
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(folder))
    if not memory:
        monkeypatch.delattr(os, "memfd_create")
    before = len(list(Path("/proc/self/fd").iterdir()))
    TlsFile(write_ssl_config(tmp_path / "ssl", certificate))
    assert list(folder.iterdir()) == []
    assert len(list(Path("/proc/self/fd").iterdir())) == before


def _spoil(text: str, old: str, new: str) -> str:
    assert old in text
    return text.replace(old, new, 1)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda text: _spoil(text, "server_key:", "server_kex:"), r"wrong at or before line 1, column \d+\.$"),
        (lambda text: text[: len(text) // 4], "must hold an SSLConfig in text format.*wrong at or before"),
        (lambda text: "", "must have `server_key`, as PEM text"),
        (lambda text: text.splitlines()[0], "must have `server_cert`, as PEM text"),
        (lambda text: text + "client_verify: true", "`client_verify` needs `custom_ca`"),
        (lambda text: text + 'custom_ca: "/etc/ca.pem"', "`custom_ca` must be certificates as PEM text, not a path"),
        (lambda text: _spoil(text, "-----BEGIN CERT", "-----BEGUN CERT"), "`server_cert` must be certificates as PEM"),
        (
            lambda text: 'server_key: "/etc/key.pem"\n' + text.splitlines()[1],
            "`server_key` must be a private key as PEM",
        ),
    ],
)
def test_what_cannot_be_used_is_an_error_of_one_line_without_the_key(tmp_path, certificate, spoil, message):
    path = write_ssl_config(tmp_path / "ssl", certificate)
    path.write_text(spoil(path.read_text()))
    with pytest.raises(StartError, match=message) as caught:
        TlsFile(path)
    text = str(caught.value)
    assert "\n" not in text
    assert str(path) in text
    key = certificate.private_key_pem.bytes().decode().splitlines()[1]
    assert key[:8] not in text


@pytest.mark.parametrize("key_type", list(trustme.KeyType))
def test_a_key_of_another_certificate_is_refused(tmp_path, authority, certificate, key_type):
    path = write_ssl_config(tmp_path / "ssl", certificate)
    other = write_ssl_config(tmp_path / "other", authority.issue_cert(HOST, key_type=key_type))
    path.write_text(other.read_text().splitlines()[0] + "\n" + path.read_text().splitlines()[1])
    with pytest.raises(StartError, match="`server_key` must be the key of the first certificate in `server_cert`"):
        TlsFile(path)


def test_an_encrypted_key_is_refused_without_asking_for_a_password(tmp_path, certificate):
    from cryptography.hazmat.primitives import serialization

    key = serialization.load_pem_private_key(certificate.private_key_pem.bytes(), None)
    encrypted = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.BestAvailableEncryption(b"secret"),
    )
    path = tmp_path / "ssl"
    path.write_text(
        f"server_key: '{encrypted.decode()}' server_cert: '{certificate.cert_chain_pems[0].bytes().decode()}'"
    )
    with pytest.raises(StartError, match="`server_key` must be a key without a password"):
        TlsFile(path)


def test_a_missing_file_is_refused(tmp_path):
    with pytest.raises(StartError, match=r"`ssl_config_file` must be a readable file.*No such file"):
        TlsFile(tmp_path / "missing")
    with pytest.raises(StartError, match=r"`ssl_config_file` must be a readable file.*Is a directory"):
        TlsFile(Path())


def test_whether_clients_show_certificates_cannot_change_while_the_server_runs(tmp_path, certificate):
    file = TlsFile(write_ssl_config(tmp_path / "ssl", certificate, clients=trustme.CA()))
    write_ssl_config(tmp_path / "ssl", certificate)
    with pytest.raises(StartError, match="`client_verify` can't change while the server runs"):
        file.reload()
    assert file.client_verify
