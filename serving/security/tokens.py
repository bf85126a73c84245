"""Bearer tokens (RFC 6750) from an `auth_tokens_file`."""

import hashlib
import logging
import re
import secrets
import stat
from collections.abc import Mapping
from pathlib import Path

from serving.errors import Code, ServingError, StartError
from serving.security.callers import EXPLAIN, PREDICT, SCOPES, Caller
from serving.security.reload import read_text

logger = logging.getLogger(__name__)

_OPTION = "auth_tokens_file"
_DEFAULT_SCOPES = f"{PREDICT},{EXPLAIN}"
_DIGEST_MARK = "sha256:"
# RFC 6750, section 2.1: b64token.
_TOKEN = re.compile(r"[A-Za-z0-9\-._~+/]+=*")
_NAME = re.compile(r"[A-Za-z0-9\-._~@]+")
_DIGEST = re.compile(r"[0-9a-f]{64}", re.IGNORECASE)
# Shorter ones are guessed; 16 random characters of base64 are 96 bits.
_MIN_TOKEN_LENGTH = 16


class TokenFile:
    """The `auth_tokens_file`: one token a line, `name:token` or `name:sha256:<hex digest>`, and its scopes.

    Empty lines and those that start with `#` are skipped. Scopes follow behind a space, with commas between them:
    `predict`, `explain`, `admin` (which may do everything); without any, `predict,explain`.

    Args:
        path: The file.

    Raises:
        StartError: The file can't be read, or a line can't be understood; one line that repeats no token.
    """

    what = "The list of tokens"

    def __init__(self, path: Path) -> None:
        self.path = path
        # A token is looked up by a digest with a key that nobody else has: how long that takes says nothing of it.
        self._key = secrets.token_bytes(32)
        self._callers: Mapping[bytes, Caller] = {}
        self.reload()

    def reload(self) -> None:
        """Takes the file's present content; a token that is no longer in it is refused from now on.

        Raises:
            StartError: It can't be used, and what was there before stays.
        """
        callers: dict[bytes, Caller] = {}
        plain = False
        for number, line in enumerate(read_text(self.path, _OPTION).splitlines(), 1):
            if not line.strip() or line.lstrip().startswith("#"):
                continue
            caller, digest, hashed = _read_line(line, f"{self.path}, line {number}")
            if callers.setdefault(self._keyed(digest), caller) is not caller:
                raise StartError(f"`{_OPTION}` must have every token once. Received: {self.path}, line {number} again.")
            plain = plain or not hashed
        if not callers:
            raise StartError(f"`{_OPTION}` must have a token, `name:token` on a line. Received: {self.path}, without.")
        self._callers = callers
        if plain and self.path.stat().st_mode & stat.S_IROTH:
            logger.warning(
                "Every user of this machine can read the tokens in %s: chmod o-r, or write digests", self.path
            )

    def caller(self, authorization: str | bytes | None) -> Caller:
        """Who sent a request.

        Args:
            authorization: The value of the header or metadata `authorization`.

        Raises:
            ServingError: UNAUTHENTICATED: there is none, it is no bearer token, or an unknown one.
        """
        if authorization is None:
            raise unauthenticated("Expected a bearer token. Received: none. Send `Authorization: Bearer <token>`.")
        value = authorization.encode() if isinstance(authorization, str) else authorization
        scheme, _, token = value.partition(b" ")
        if scheme.lower() != b"bearer" or not token.strip():
            raise unauthenticated(
                "Expected a bearer token. Received: something else. Send `Authorization: Bearer <token>`."
            )
        caller = self._callers.get(self._keyed(hashlib.sha256(token.strip()).digest()))
        if caller is None:
            raise unauthenticated(
                "Expected a known bearer token. Received: an unknown one. Ask whoever runs the server."
            )
        return caller

    def _keyed(self, digest: bytes) -> bytes:
        return hashlib.blake2b(digest, key=self._key, digest_size=32).digest()


def unauthenticated(message: str) -> ServingError:
    """An error of a caller who has not said who they are."""
    return ServingError(Code.UNAUTHENTICATED, message)


def _read_line(line: str, place: str) -> tuple[Caller, bytes, bool]:
    """The caller of a line, the SHA-256 of its token, and whether that is what stands there."""
    entry, _, scopes = line.strip().partition(" ")
    name, separator, token = entry.partition(":")
    if not separator or not _NAME.fullmatch(name):
        raise StartError(
            f"`{_OPTION}` must have lines `name:token` or `name:sha256:<hex digest>`, then scopes. Received: {place}, "
            "which has no name of letters, digits and -._~@ before a colon."
        )
    caller = Caller(name, _read_scopes(scopes.strip() or _DEFAULT_SCOPES, place))
    if token.startswith(_DIGEST_MARK):
        digest = token.removeprefix(_DIGEST_MARK)
        if not _DIGEST.fullmatch(digest):
            raise StartError(f"A digest must be the 64 hex digits of SHA-256. Received: {place}, which hasn't.")
        return caller, bytes.fromhex(digest), True
    if len(token) < _MIN_TOKEN_LENGTH or not _TOKEN.fullmatch(token):
        raise StartError(
            f"A token must have at least {_MIN_TOKEN_LENGTH} characters, of A-Z a-z 0-9 - . _ ~ + / and = at the end. "
            f"Received: {place}, which hasn't. Make one with: openssl rand -hex 32."
        )
    return caller, hashlib.sha256(token.encode()).digest(), False


def _read_scopes(text: str, place: str) -> frozenset[str]:
    scopes = frozenset(scope.strip() for scope in text.split(","))
    unknown = sorted(scopes - set(SCOPES))
    if unknown:
        raise StartError(f"Scopes must be of {', '.join(SCOPES)}. Received: {place}: {', '.join(map(repr, unknown))}.")
    return scopes
