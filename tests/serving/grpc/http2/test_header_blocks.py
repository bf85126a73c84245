"""Header blocks: what is remembered means what hpack, asked each time, says that it means."""

import hpack
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from serving.grpc.http2.errors import ErrorCode, Http2ConnectionError
from serving.grpc.http2.header_blocks import HeaderDecoder, encode_headers

NAMES = st.sampled_from([b":path", b"user-agent", b"x-a", b"x-b"])
VALUES = st.sampled_from([b"", b"/a", b"1", b"2", b"v" * 60])
HEADERS = st.lists(st.tuples(NAMES, VALUES, st.booleans()), max_size=5)


def read(decoder: HeaderDecoder, block: bytes) -> list[tuple[bytes, bytes]]:
    """As a session does it."""
    known = decoder.known(block)
    if known is not None:
        return known
    headers = [tuple(each) for each in decoder.decode(block)]
    decoder.remember(block, headers)
    return headers


@settings(max_examples=300, deadline=None)
@given(
    requests=st.lists(HEADERS, max_size=6),
    order=st.lists(st.integers(0, 5), max_size=40),
    table_sizes=st.dictionaries(st.integers(0, 40), st.sampled_from([0, 60, 200, 4096]), max_size=3),
)
def test_blocks_mean_the_same_with_and_without_a_memory(
    requests: list[list[tuple[bytes, bytes, bool]]], order: list[int], table_sizes: dict[int, int]
) -> None:
    encoder, oracle, decoder = hpack.Encoder(), hpack.Decoder(), HeaderDecoder()
    for step, index in enumerate(order):
        if step in table_sizes:
            encoder.header_table_size = table_sizes[step]
        block = encoder.encode(requests[index % len(requests)] if requests else [])
        assert read(decoder, block) == [tuple(each) for each in oracle.decode(block, raw=True)]


def test_repeated_blocks_are_known_until_the_table_changes() -> None:
    encoder, decoder = hpack.Encoder(), HeaderDecoder()
    first = encoder.encode([(b"x-a", b"1")])
    read(decoder, first)
    assert decoder.known(first) is None, "it has changed the table"
    again = encoder.encode([(b"x-a", b"1")])
    assert read(decoder, again) is decoder.known(again)
    read(decoder, encoder.encode([(b"x-b", b"2")]))
    assert decoder.known(again) is None, "62 is another header now"


def test_the_memory_is_bounded() -> None:
    decoder = HeaderDecoder()
    for number in range(1000):
        read(decoder, encode_headers([(b"x-a", b"%d" % number)]))
    assert len(decoder._known) <= 16
    read(decoder, encode_headers([(b"x-a", b"v" * 2000)]))
    assert all(len(block) <= 1024 for block in decoder._known)


@pytest.mark.parametrize(
    ("block", "code"),
    [
        (b"\xfe", ErrorCode.COMPRESSION_ERROR),
        (b"\x40\x01a\x7f\xa1\x1e" + b"v" * 4000 + b"\xbe" * 20, ErrorCode.ENHANCE_YOUR_CALM),
    ],
)
def test_what_cannot_be_decoded_ends_the_connection(block: bytes, code: ErrorCode) -> None:
    with pytest.raises(Http2ConnectionError) as caught:
        HeaderDecoder().decode(block)
    assert caught.value.code == code


def test_what_is_encoded_needs_no_table_and_changes_none() -> None:
    headers = [(b":status", b"200"), (b"content-type", b"application/grpc"), (b"grpc-message", b"m" * 300)]
    decoder = hpack.Decoder()
    for _ in range(2):
        assert [tuple(each) for each in decoder.decode(encode_headers(headers), raw=True)] == headers
        assert not decoder.header_table.dynamic_entries
