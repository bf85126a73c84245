"""Frames against hyperframe, the parser of another project."""

from itertools import pairwise

import pytest
from hyperframe.frame import ContinuationFrame, DataFrame, Frame, GoAwayFrame, HeadersFrame, PingFrame, RstStreamFrame
from hypothesis import given, settings
from hypothesis import strategies as st

from serving.grpc.http2.errors import ErrorCode, Http2ConnectionError
from serving.grpc.http2.frames import (
    FrameReader,
    Kind,
    frame,
    goaway_frame,
    header_frames,
    ping_frame,
    reset_frame,
    uint32,
    unpadded,
    window_update_frame,
)


def parse(content: bytes) -> list[Frame]:
    """Everything in the bytes, by hyperframe."""
    frames = []
    while content:
        each, size = Frame.parse_frame_header(memoryview(content)[:9])
        each.parse_body(memoryview(content[9 : 9 + size]))
        frames.append(each)
        content = content[9 + size :]
    return frames


@settings(max_examples=100, deadline=None)
@given(
    sizes=st.lists(st.integers(0, 300), max_size=6),
    cuts=st.lists(st.integers(0, 2000), max_size=8),
)
def test_frames_are_the_same_however_the_bytes_are_cut(sizes: list[int], cuts: list[int]) -> None:
    sent = [DataFrame(2 * index + 1, bytes([index]) * size) for index, size in enumerate(sizes)]
    content = b"".join(each.serialize() for each in sent)
    places = sorted({0, len(content), *(min(cut, len(content)) for cut in cuts)})
    reader = FrameReader()
    received = [each for start, end in pairwise(places) for each in reader.feed(content[start:end])]
    assert [(each.stream_id, each.payload) for each in received] == [(each.stream_id, each.data) for each in sent]


def test_the_reserved_bit_of_a_stream_s_number_is_ignored() -> None:
    assert next(FrameReader().feed(b"\0\0\0\0\0\xff\xff\xff\xff")).stream_id == 2**31 - 1


def test_a_frame_too_large_is_refused_by_its_head_and_those_before_it_are_read() -> None:
    frames = FrameReader().feed(frame(Kind.PING, 0, 0, bytes(8)) + b"\0\x40\x01" + bytes(6))
    assert next(frames).kind == Kind.PING
    with pytest.raises(Http2ConnectionError, match=r"A frame may have 16384 bytes\. Received: 16385"):
        next(frames)


@pytest.mark.parametrize("pad_length", [0, 1, 255])
def test_padding_and_priority_are_taken_off(pad_length: int) -> None:
    headers = HeadersFrame(1, b"block", pad_length=pad_length, depends_on=3, stream_weight=7)
    headers.flags |= {"PADDED", "PRIORITY"}
    assert unpadded(next(FrameReader().feed(headers.serialize()))) == b"block"
    data = DataFrame(1, b"data", pad_length=pad_length)
    data.flags.add("PADDED")
    assert unpadded(next(FrameReader().feed(data.serialize()))) == b"data"


def test_what_is_written_reads_as_it_was_meant() -> None:
    content = reset_frame(5, ErrorCode.CANCEL) + window_update_frame(0, 77) + ping_frame(b"abcdefgh", ack=True)
    content += goaway_frame(9, ErrorCode.PROTOCOL_ERROR, "why")
    reset, update, ping, goaway = parse(content)
    assert isinstance(reset, RstStreamFrame)
    assert (reset.stream_id, reset.error_code) == (5, 8)
    assert (update.stream_id, update.window_increment) == (0, 77)
    assert isinstance(ping, PingFrame)
    assert (ping.opaque_data, set(ping.flags)) == (b"abcdefgh", {"ACK"})
    assert isinstance(goaway, GoAwayFrame)
    assert (goaway.last_stream_id, goaway.error_code, goaway.additional_data) == (9, 1, b"why")
    assert uint32(next(FrameReader().feed(reset_frame(5, ErrorCode.CANCEL)))) == 8


def test_a_long_block_is_continued() -> None:
    block = bytes(range(250)) * 10
    frames = parse(header_frames(3, block, 1000, end_stream=True))
    assert [type(each) for each in frames] == [HeadersFrame, ContinuationFrame, ContinuationFrame]
    assert b"".join(each.data for each in frames) == block
    assert [set(each.flags) for each in frames] == [{"END_STREAM"}, set(), {"END_HEADERS"}]
    (alone,) = parse(header_frames(3, b"x", 1000, end_stream=False))
    assert set(alone.flags) == {"END_HEADERS"}
