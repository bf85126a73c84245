"""What a client shows to a server, and what it trusts it by."""

import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from whyserve.errors import CommandError


@dataclass(frozen=True)
class Access:
    """How a server is to be asked.

    Args:
        token: The bearer token; None: none is sent.
        ca_file: PEM certificates of who signed the server's; None: those that this machine trusts.
        cert_file: The client's own PEM certificate, for mutual TLS.
        key_file: Its key; None: it stands in `cert_file`.
    """

    token: str | None = None
    ca_file: Path | None = None
    cert_file: Path | None = None
    key_file: Path | None = None

    def headers(self) -> dict[str, str]:
        """What is sent with each request; gRPC's metadata are the same in lower case."""
        return {} if self.token is None else {"authorization": f"Bearer {self.token}"}

    def ssl_context(self) -> ssl.SSLContext:
        """For HTTPS.

        Raises:
            CommandError: A file can't be used.
        """
        try:
            context = ssl.create_default_context(cafile=None if self.ca_file is None else str(self.ca_file))
            if self.cert_file is not None:
                context.load_cert_chain(self.cert_file, self.key_file)
        except (OSError, ssl.SSLError) as error:
            raise CommandError(
                "Expected PEM files with certificates and their key. Received: "
                f"{', '.join(str(path) for path in self._files())} ({error})."
            ) from error
        return context

    def grpc_credentials(self) -> Any:
        """For gRPC over TLS.

        Raises:
            CommandError: A file can't be read.
        """
        import grpc

        try:
            authorities = None if self.ca_file is None else self.ca_file.read_bytes()
            chain = None if self.cert_file is None else self.cert_file.read_bytes()
            key = chain if self.key_file is None else self.key_file.read_bytes()
        except OSError as error:
            raise CommandError(f"Expected PEM files that can be read. Received: {error}.") from error
        return grpc.ssl_channel_credentials(authorities, key if chain is not None else None, chain)

    def _files(self) -> list[Path]:
        return [path for path in (self.ca_file, self.cert_file, self.key_file) if path is not None]
