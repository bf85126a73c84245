"""TLS and mutual TLS from an `ssl_config_file`, for both transports, renewed without dropping a connection."""

import os
import re
import ssl
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from google.protobuf import text_format

from serving.errors import StartError
from serving.protos.pool import POOL
from serving.protos.ssl_config_pb2 import SSLConfig
from serving.security.reload import read_text

PROTOCOLS = ("http/1.1", "h2")
"""What REST and gRPC speak, by the names that TLS has for it."""

_OPTION = "ssl_config_file"
_TEXT = re.compile(r'"(?:[^"\\]|\\.)*"|' + r"'(?:[^'\\]|\\.)*'|#[^\n]*", re.DOTALL)


@dataclass(frozen=True)
class Certificates:
    """What an `SSLConfig` holds, as PEM text. The key is kept out of every text that shows this."""

    server_key: str = field(repr=False)
    server_cert: str
    custom_ca: str
    client_verify: bool


class TlsFile:
    """The `ssl_config_file`: certificates that are replaced when the file changes, for new connections.

    Connections that are open keep what they agreed on. Whether clients must show a certificate is fixed at the start.

    Args:
        path: An `SSLConfig` in text format.

    Raises:
        StartError: The file, a certificate or the key can't be used; one line.
    """

    what = "TLS"

    def __init__(self, path: Path) -> None:
        self.path = path
        self._certificates = read_ssl_config(path)
        self._current = {name: make_context(self._certificates, path, name) for name in PROTOCOLS}

    @property
    def client_verify(self) -> bool:
        """Whether clients must show a certificate."""
        return self._certificates.client_verify

    def reload(self) -> None:
        """Takes the file's present content for connections to come.

        Raises:
            StartError: It can't be used, and what was there before stays.
        """
        certificates = read_ssl_config(self.path)
        if certificates.client_verify != self.client_verify:
            raise StartError(
                f"`client_verify` can't change while the server runs. Received: {certificates.client_verify}, in "
                f"{self.path}. Start the server again."
            )
        self._current = {name: make_context(certificates, self.path, name) for name in PROTOCOLS}
        self._certificates = certificates

    def context(self, protocol: str) -> ssl.SSLContext:
        """For a server that is started with one context: it hands every handshake over to the current one.

        Args:
            protocol: One of `PROTOCOLS`.
        """
        first = make_context(self._certificates, self.path, protocol)

        def choose(connection: ssl.SSLObject, _name: str | None, _context: ssl.SSLContext) -> None:
            connection.context = self._current[protocol]

        first.sni_callback = choose  # called in every handshake, also of a client that names no server
        return first


def read_ssl_config(path: Path) -> Certificates:
    """Reads an `SSLConfig`. As TensorFlow Serving does, it lets a PEM text stand over several lines.

    Raises:
        StartError: The file can't be read, is no SSLConfig or lacks something. No message repeats what it holds.
    """
    text = _TEXT.sub(_on_one_line, read_text(path, _OPTION))
    try:
        config = text_format.Parse(text, SSLConfig(), descriptor_pool=POOL)
    except text_format.ParseError as error:
        line, column = error.GetLine(), error.GetColumn()
        place = "its end" if line is None else f"line {line}" + ("" if column is None else f", column {column}")
        # protobuf's own words may repeat a piece of the key.
        raise StartError(
            f"`{_OPTION}` must hold an SSLConfig in text format: server_key, server_cert, custom_ca, client_verify. "
            f"Received: {path}, which is wrong at or before {place}."
        ) from None
    for name in ("server_key", "server_cert"):
        if not getattr(config, name):
            raise StartError(f"`{_OPTION}` must have `{name}`, as PEM text. Received: {path}, which has none.")
    if config.client_verify and not config.custom_ca:
        raise StartError(
            f"`client_verify` needs `custom_ca`, the authority that signs the clients' certificates. Received: {path}, "
            "which has none."
        )
    return Certificates(config.server_key, config.server_cert, config.custom_ca, config.client_verify)


def make_context(certificates: Certificates, path: Path, protocol: str) -> ssl.SSLContext:
    """A server's context: TLS 1.2 or newer.

    Args:
        certificates: The server's, and who vouches for its clients.
        path: Where they are from.
        protocol: What clients that ask are told is spoken here.

    Raises:
        StartError: A certificate or the key can't be used.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols([protocol])
    _check_certificates(certificates.server_cert, "server_cert", path)
    _load_key(context, certificates, path)
    if certificates.custom_ca:
        _check_certificates(certificates.custom_ca, "custom_ca", path)
        context.load_verify_locations(cadata=certificates.custom_ca)
    if certificates.client_verify:
        context.verify_mode = ssl.CERT_REQUIRED
        # A resumed session isn't verified again: a client would outlive the authority that vouched for it.
        context.num_tickets = 0
        context.options |= ssl.OP_NO_TICKET
    return context


def _check_certificates(pem: str, name: str, path: Path) -> None:
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_verify_locations(cadata=pem)
    except (ssl.SSLError, ValueError) as error:
        raise StartError(
            f"`{name}` must be certificates as PEM text, not a path. Received: {path}, where it can't be read."
        ) from error


def _load_key(context: ssl.SSLContext, certificates: Certificates, path: Path) -> None:
    try:
        with _unnamed_file(f"{certificates.server_key}\n{certificates.server_cert}") as name:
            # A password would be asked for at the terminal, in the middle of a start.
            context.load_cert_chain(name, password=_refuse_password)
    except _EncryptedKeyError as error:
        raise StartError(
            f"`server_key` must be a key without a password. Received: {path}, where it is encrypted. Decrypt it with "
            "openssl pkey."
        ) from error
    except (ssl.SSLError, ValueError) as error:
        # A key of another kind than the certificate's is "no certificate assigned" to OpenSSL.
        if any(word in str(error) for word in ("MISMATCH", "NO_CERTIFICATE_ASSIGNED")):
            raise StartError(
                f"`server_key` must be the key of the first certificate in `server_cert`. Received: {path}, where it "
                "belongs to another one."
            ) from error
        raise StartError(
            f"`server_key` must be a private key as PEM text, not a path. Received: {path}, where it can't be read."
        ) from error


class _EncryptedKeyError(Exception):
    pass


def _refuse_password() -> str:
    raise _EncryptedKeyError


@contextmanager
def _unnamed_file(content: str) -> Iterator[str]:
    """A path that Python's ssl can read a key from: in memory where the system allows it, so never on a disk."""
    if hasattr(os, "memfd_create"):
        with os.fdopen(os.memfd_create("key"), "w", encoding="utf-8") as file:
            file.write(content)
            file.flush()
            yield f"/proc/self/fd/{file.fileno()}"
        return
    with tempfile.NamedTemporaryFile("w", encoding="utf-8") as file:  # only its owner may read it
        file.write(content)
        file.flush()
        yield file.name


def _on_one_line(match: "re.Match[str]") -> str:
    """A quoted text without raw line breaks, which stand behind it instead: lines keep their numbers."""
    text = match[0]
    if text.startswith("#"):
        return text
    return text.replace("\r\n", "\n").replace("\n", "\\n") + "\n" * text.count("\n")
