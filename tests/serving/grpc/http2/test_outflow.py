"""What is sent, against a client that keeps account of its windows."""

from hyperframe.frame import DataFrame
from hypothesis import given, settings
from hypothesis import strategies as st

from serving.grpc.http2.frames import MIN_FRAME_BYTES
from serving.grpc.http2.outflow import Outflow, StreamOutflow
from tests.serving.grpc.http2.test_frames import parse

STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("send"), st.integers(0, 60_000)),
        st.tuples(st.just("widen"), st.integers(1, 40_000)),
        st.tuples(st.just("widen stream"), st.integers(1, 40_000)),
        st.tuples(st.just("resize"), st.integers(0, 70_000)),
        st.tuples(st.just("pause"), st.just(0)),
        st.tuples(st.just("resume"), st.just(0)),
    ),
    max_size=30,
)


class Client:
    """Counts what it receives."""

    def __init__(self) -> None:
        self.window = self.initial = 65_535
        self.windows: dict[int, int] = {}
        self.received: dict[int, bytes] = {}
        self.ended: list[int] = []
        self.buffer = b""

    def take(self, content: bytes | memoryview) -> None:
        self.buffer += content

    def read(self) -> None:
        for frame in parse(self.buffer):
            if isinstance(frame, DataFrame):
                size = len(frame.data)
                assert size <= MIN_FRAME_BYTES
                self.window -= size
                self.windows[frame.stream_id] -= size
                assert self.window >= 0
                assert self.windows[frame.stream_id] >= 0
                self.received[frame.stream_id] += frame.data
            else:
                self.ended.append(frame.stream_id)
        self.buffer = b""


@settings(max_examples=200, deadline=None)
@given(steps=STEPS)
def test_windows_are_kept_and_everything_arrives_in_the_end(steps: list[tuple[str, int]]) -> None:
    client = Client()
    outflow = Outflow(client.take, lambda _: None)
    streams: list[StreamOutflow] = []
    sent: dict[int, bytes] = {}
    ending = b"\0\0\0\x09\4"  # an empty CONTINUATION stands for the trailers
    for step, amount in steps:
        if step == "send":
            stream = StreamOutflow(2 * len(streams) + 1, outflow.initial_window)
            streams.append(stream)
            client.windows[stream.stream_id] = client.initial
            client.received[stream.stream_id] = b""
            sent[stream.stream_id] = bytes([len(streams)]) * amount
            outflow.send(stream, b"", sent[stream.stream_id], ending + stream.stream_id.to_bytes(4, "big"))
        elif step == "widen":
            client.window += amount
            outflow.widen(amount)
        elif step == "widen stream" and streams:
            client.windows[streams[-1].stream_id] += amount
            outflow.widen_stream(streams[-1], amount)
        elif step == "resize":
            client.windows = {key: window + amount - client.initial for key, window in client.windows.items()}
            client.initial = amount
            outflow.resize(streams, amount)
        elif step == "pause":
            outflow.paused = True
        elif step == "resume":
            outflow.resume()
        if outflow.paused and step != "pause":
            assert not client.buffer or step == "send"
        client.read()
    outflow.resume()
    client.window += 10_000_000
    outflow.widen(10_000_000)
    for stream in streams:
        client.windows[stream.stream_id] += 1_000_000
        outflow.widen_stream(stream, 1_000_000)
    client.read()
    assert client.received == sent
    assert sorted(client.ended) == sorted(sent)
    assert not any(stream.busy for stream in streams)


def test_streams_take_turns() -> None:
    client = Client()
    outflow = Outflow(client.take, lambda _: None)
    streams = [StreamOutflow(number, 1 << 20) for number in (1, 3)]
    for stream in streams:
        outflow.send(stream, b"", bytes(100_000), b"")
    client.buffer = b""
    outflow.widen(4 * MIN_FRAME_BYTES)
    assert [frame.stream_id for frame in parse(client.buffer)][:4] in ([1, 3, 1, 3], [3, 1, 3, 1])


def test_what_is_dropped_is_not_sent() -> None:
    client = Client()
    outflow = Outflow(client.take, lambda _: None)
    stream = StreamOutflow(1, 10)
    outflow.send(stream, b"", bytes(20), b"ending")
    outflow.drop(stream)
    client.buffer = b""
    outflow.widen_stream(stream, 100)
    assert client.buffer == b""
