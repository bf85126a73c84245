"""Messages in pieces."""

import gzip
import zlib
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from serving.errors import Code, ServingError
from serving.grpc.http2.messages import MessageReader, inflate, message_prefix
from tests.serving.grpc.http2.raw import message


@settings(max_examples=200, deadline=None)
@given(
    contents=st.lists(st.binary(max_size=40), max_size=5),
    cuts=st.lists(st.integers(0, 250), max_size=10),
)
def test_messages_are_the_same_however_the_bytes_are_cut(contents: list[bytes], cuts: list[int]) -> None:
    sent = b"".join(message(content) for content in contents)
    places = sorted({0, len(sent), *(min(cut, len(sent)) for cut in cuts)})
    reader = MessageReader("identity", None)
    received = []
    for start, end in pairwise(places):
        received += reader.feed(sent[start:end])
    assert received == [(False, content) for content in contents]
    assert reader.size == 0
    reader.close()


def test_a_message_too_large_is_refused_by_its_prefix() -> None:
    reader = MessageReader("identity", 10)
    assert reader.feed(message(b"0123456789")) == [(False, b"0123456789")]
    with pytest.raises(ServingError, match=r"Received message larger than max \(11 vs\. 10\)"):
        reader.feed(message(b"0123456789x")[:5])


def test_a_message_that_arrives_takes_its_own_size() -> None:
    reader = MessageReader("identity", None)
    for byte in message(bytes(1000))[:-1]:
        assert reader.feed(bytes([byte])) == []
    assert reader.size == 1004
    with pytest.raises(ServingError, match="in the middle of a message"):
        reader.close()
    reader.clear()
    assert reader.size == 0


@pytest.mark.parametrize(("encoding", "compress"), [("gzip", gzip.compress), ("deflate", zlib.compress)])
def test_what_was_compressed_is_inflated_up_to_the_limit(encoding: str, compress: object) -> None:
    content = b"abc" * 1000
    packed = compress(content)
    assert inflate(packed, encoding, 3000) == inflate(packed, encoding, None) == content
    for broken, limit, code in (
        (packed, 2999, Code.RESOURCE_EXHAUSTED),
        (packed[:-1], 3000, Code.INTERNAL),
        (packed + b"x", 3000, Code.INTERNAL),
        (b"nothing", 3000, Code.INTERNAL),
    ):
        with pytest.raises(ServingError) as caught:
            inflate(broken, encoding, limit)
        assert caught.value.code == code


def test_a_prefix_says_the_size() -> None:
    assert message_prefix(258) == b"\0\0\0\x01\x02"
