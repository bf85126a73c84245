"""A client that sends whatever bytes a test likes, and reads frames with the parser of another project."""

import asyncio
import contextlib
import struct
from collections.abc import AsyncIterator, Iterable

import hpack
from hyperframe.frame import (
    DataFrame,
    Frame,
    GoAwayFrame,
    HeadersFrame,
    PingFrame,
    RstStreamFrame,
    SettingsFrame,
)

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
TIMEOUT_S = 10.0


def message(content: bytes, *, compressed: int = 0) -> bytes:
    """A message with its prefix."""
    return struct.pack(">BL", compressed, len(content)) + content


class RawClient:
    """One connection.

    Attributes:
        frames: Everything that was received.
    """

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer
        self.encoder, self.decoder = hpack.Encoder(), hpack.Decoder()
        self.frames: list[Frame] = []
        self._buffer = b""

    def send(self, *frames: Frame | bytes) -> None:
        self.writer.write(b"".join(each if isinstance(each, bytes) else each.serialize() for each in frames))

    def start(self, **settings: int) -> None:
        """The preface and SETTINGS, with the names of hyperframe's constants."""
        self.send(PREFACE, SettingsFrame(0, {getattr(SettingsFrame, name): value for name, value in settings.items()}))

    def headers(
        self,
        stream_id: int,
        path: str = "/test/Echo",
        extra: Iterable[tuple[str, str]] = (),
        flags: str = "",
        **changes: str,
    ) -> HeadersFrame:
        """HEADERS of a call; `changes` replace pseudo headers and others by name, with _ for -."""
        fields = {
            ":method": "POST",
            ":scheme": "http",
            ":path": path,
            "content-type": "application/grpc",
            "te": "trailers",
        }
        for name, value in changes.items():
            fields[{"method": ":method", "scheme": ":scheme"}.get(name, name.replace("_", "-"))] = value
        block = self.encoder.encode([*((n, v) for n, v in fields.items() if v), *extra])
        frame = HeadersFrame(stream_id, block)
        frame.flags.add("END_HEADERS")
        for flag in flags.split():
            frame.flags.add(flag)
        return frame

    def data(self, stream_id: int, content: bytes, *, last: bool = True) -> DataFrame:
        frame = DataFrame(stream_id, content)
        if last:
            frame.flags.add("END_STREAM")
        return frame

    def call(self, stream_id: int, path: str = "/test/Echo", content: bytes = b"hello", **changes: str) -> None:
        """A whole call."""
        self.send(self.headers(stream_id, path, **changes), self.data(stream_id, message(content)))

    async def next(self) -> Frame | None:
        """The next frame; None at the end."""
        while True:
            if len(self._buffer) >= 9:
                frame, size = Frame.parse_frame_header(memoryview(self._buffer)[:9])
                if len(self._buffer) >= 9 + size:
                    frame.parse_body(memoryview(self._buffer[9 : 9 + size]))
                    self._buffer = self._buffer[9 + size :]
                    self.frames.append(frame)
                    return frame
            try:
                received = await asyncio.wait_for(self.reader.read(1 << 16), TIMEOUT_S)
            except ConnectionError:
                return None
            if not received:
                return None
            self._buffer += received

    async def until(self, kind: type[Frame], stream_id: int | None = None) -> Frame:
        """The next frame of a kind."""
        while frame := await self.next():
            if isinstance(frame, kind) and stream_id in (None, frame.stream_id):
                return frame
        raise AssertionError(f"No {kind.__name__} came, but {self.frames[-5:]}.")

    async def reply(self, stream_id: int = 1) -> tuple[dict[str, str], bytes]:
        """All headers of a reply in one dictionary, and its messages."""
        fields: dict[str, str] = {}
        content = b""
        while frame := await self.next():
            if isinstance(frame, HeadersFrame):
                decoded = dict(self.decoder.decode(frame.data))
                if frame.stream_id == stream_id:
                    fields |= decoded
            if frame.stream_id == stream_id and isinstance(frame, DataFrame):
                content += frame.data
            if frame.stream_id == stream_id and isinstance(frame, RstStreamFrame):
                return {**fields, "reset": str(frame.error_code)}, content
            if frame.stream_id == stream_id and "END_STREAM" in frame.flags:
                return fields, content
        raise AssertionError(f"The connection ended: {self.frames[-5:]}.")

    async def goaway(self) -> tuple[int, str]:
        """Code and text of the GOAWAY that comes."""
        frame = await self.until(GoAwayFrame)
        return frame.error_code, frame.additional_data.decode()

    async def check_alive(self, stream_id: int) -> None:
        """A call is answered."""
        self.call(stream_id)
        fields, content = await self.reply(stream_id)
        assert (fields["grpc-status"], content) == ("0", message(b"hello"))

    async def ping(self) -> None:
        """Waits until everything that was sent before has been handled."""
        self.send(PingFrame(0, b"12345678"))
        await self.until(PingFrame)


@contextlib.asynccontextmanager
async def connect(address: str, **settings: int) -> AsyncIterator[RawClient]:
    """A client that has said hello."""
    host, port = address.rsplit(":", 1)
    reader, writer = await asyncio.open_connection(host, int(port))
    client = RawClient(reader, writer)
    client.start(**settings)
    try:
        yield client
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()
