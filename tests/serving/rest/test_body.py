import asyncio
import gzip
import tracemalloc
from collections.abc import Iterable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from serving.errors import ServingError
from serving.rest.body import ClientLeft, inflate, read_body
from serving.rest.limits import Limits
from serving.rest.replies import HttpError

LIMITS = Limits(max_body_bytes=100, max_inflated_bytes=1000)


def read(pieces: Iterable[bytes], headers: dict[bytes, bytes] | None = None, *, leaves: bool = False) -> bytes:
    """Reads a body that arrives in pieces; a client that `leaves` does so before the last one."""
    messages: list[dict[str, Any]] = [{"type": "http.request", "body": piece, "more_body": True} for piece in pieces]
    messages[-1] = {"type": "http.disconnect"} if leaves else {**messages[-1], "more_body": False}

    async def receive() -> dict[str, Any]:
        return messages.pop(0) if messages else {"type": "http.disconnect"}

    return asyncio.run(read_body(receive, list((headers or {}).items()), LIMITS))


def test_a_body_is_put_together_from_its_pieces() -> None:
    assert read([b"ab"]) == b"ab"
    assert read([b"a", b"", b"bc"]) == b"abc"


@pytest.mark.parametrize("pieces", [[b"x" * 101], [b"x" * 60, b"x" * 60, b"y"]])
def test_a_body_over_the_limit_is_413(pieces: list[bytes]) -> None:
    for headers in ({}, {b"content-length": b"101"}):
        with pytest.raises(HttpError, match=r"A body may be 100 bytes sent\. Received: more") as caught:
            read(pieces, headers)
        assert caught.value.status == 413
        assert (b"connection", b"close") in caught.value.headers


def test_a_body_at_the_limit_is_read() -> None:
    assert read([b"x" * 100], {b"content-length": b"100"}) == b"x" * 100


@pytest.mark.parametrize("pieces", [[b""], [b"a", b"b"]])
def test_a_client_that_leaves_is_noticed(pieces: list[bytes]) -> None:
    with pytest.raises(ClientLeft):
        read(pieces, leaves=True)


def test_gzip_is_inflated() -> None:
    for encoding in (b"gzip", b"x-gzip", b"GZIP"):
        assert read([gzip.compress(b"abc", mtime=0)], {b"content-encoding": encoding}) == b"abc"
    assert read([b"abc"], {b"content-encoding": b"identity"}) == b"abc"
    assert inflate(gzip.compress(b"ab", mtime=0) + gzip.compress(b"cd", mtime=0), 100) == b"abcd"


@pytest.mark.parametrize("content", [b"a" * 1001, b"\0" * 50_000])
def test_a_bomb_is_stopped_at_the_limit(content: bytes) -> None:
    with pytest.raises(HttpError, match="A body may be 1000 bytes inflated") as caught:
        read([gzip.compress(content, mtime=0)], {b"content-encoding": b"gzip"})
    assert caught.value.status == 413


def test_a_bomb_is_not_inflated_beyond_the_limit() -> None:
    bomb = gzip.compress(bytes(50_000_000))
    tracemalloc.start()
    try:
        with pytest.raises(HttpError):
            inflate(bomb, 1000)
        assert tracemalloc.get_traced_memory()[1] < 1_000_000
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    "body", [b"plain", gzip.compress(b"abc", mtime=0)[:-4], gzip.compress(b"abc", mtime=0) + b"rest"]
)
def test_broken_gzip_is_refused(body: bytes) -> None:
    with pytest.raises(ServingError, match="Failed to inflate the body"):
        inflate(body, 1000)


def test_another_encoding_is_415() -> None:
    with pytest.raises(HttpError, match=r"Content-Encoding must be gzip, deflate or absent\. Received: 'br'") as caught:
        read([b"x"], {b"content-encoding": b"br"})
    assert caught.value.status == 415


@given(st.binary(max_size=100), st.booleans())
@settings(deadline=None)
def test_any_bytes_inflate_or_are_refused(content: bytes, compressed: bool) -> None:
    try:
        inflated = inflate(gzip.compress(content, mtime=0) if compressed else content, 1000)
    except ServingError:
        assert not compressed
    else:
        assert inflated == content if compressed else isinstance(inflated, bytes)
