"""What is sent: as much as the client's windows and the socket take, the streams in turn (RFC 9113, section 5.2)."""

from collections import deque
from collections.abc import Callable, Iterable

from serving.grpc.http2.errors import ErrorCode, Http2ConnectionError, Http2StreamError, protocol_error
from serving.grpc.http2.frames import DEFAULT_WINDOW, MAX_WINDOW, MIN_FRAME_BYTES, Kind, frame_head

# Larger frames save nothing, and one stream would hold up the others.
_MAX_SENT_FRAME_BYTES = 1 << 16


class StreamOutflow:
    """What one stream has still to send.

    Args:
        stream_id: The stream.
        window: Bytes that the client takes.
    """

    __slots__ = ("data", "ending", "queued", "stream_id", "window")

    def __init__(self, stream_id: int, window: int) -> None:
        self.stream_id = stream_id
        self.window = window
        self.data = memoryview(b"")
        self.ending = b""
        self.queued = False

    @property
    def busy(self) -> bool:
        """Whether something waits to be sent."""
        return bool(self.data) or bool(self.ending)


class Outflow:
    """The sending half of a connection.

    Args:
        write: Sends bytes that no window counts, at once.
        moved: Called with a stream's number when some of what waited was sent.

    Attributes:
        window: Bytes that the client takes.
        initial_window: What it takes on a new stream.
        max_frame_bytes: Payload of the largest frame.
        paused: Whether the socket takes nothing now.
        num_sent: Frames of calls that were sent.
    """

    def __init__(self, write: Callable[[bytes | memoryview], None], moved: Callable[[int], None]) -> None:
        self.write = write
        self._moved = moved
        self.window = DEFAULT_WINDOW
        self.initial_window = DEFAULT_WINDOW
        self.max_frame_bytes = MIN_FRAME_BYTES
        self.paused = False
        self.num_sent = 0
        self._queue: deque[StreamOutflow] = deque()

    def send(self, stream: StreamOutflow, head: bytes, data: bytes, ending: bytes) -> None:
        """Sends frames before the data at once, the data as fast as the client takes it, and then the ending.

        Args:
            stream: Whose it is; must not be busy.
            head: Frames, or none.
            data: The content of DATA frames.
            ending: Frames, or none.
        """
        size = len(data)
        if size <= min(self.window, stream.window, self.max_frame_bytes) and not self.paused:
            self.window -= size
            stream.window -= size
            data_head = frame_head(size, Kind.DATA, 0, stream.stream_id) if size else b""
            self.write(b"".join((head, data_head, data, ending)))
            return
        self.write(head)
        stream.data = memoryview(data)
        stream.ending = ending
        self._enqueue(stream)
        self.flush()

    def drop(self, stream: StreamOutflow) -> None:
        """Forgets what a stream has not sent yet."""
        stream.data, stream.ending = memoryview(b""), b""

    def flush(self) -> None:
        """Sends what may be sent now."""
        while self._queue and not self.paused:
            stream = self._queue.popleft()
            size = min(len(stream.data), self.window, stream.window, self.max_frame_bytes)
            if size > 0:
                self._send_data(stream, size)
            if not stream.data:
                if stream.ending:
                    self.write(stream.ending)
                    stream.ending = b""
                stream.queued = False
                self._moved(stream.stream_id)
            elif self.window <= 0:
                self._queue.appendleft(stream)
                return
            elif stream.window <= 0:
                stream.queued = False  # until its window opens
            else:
                self._queue.append(stream)

    def widen(self, increment: int) -> None:
        """The client takes more on the whole connection.

        Raises:
            Http2ConnectionError: More than there can be, or nothing.
        """
        if not increment:
            raise protocol_error("WINDOW_UPDATE must not be 0.")
        self.window += increment
        if self.window > MAX_WINDOW:
            raise Http2ConnectionError(ErrorCode.FLOW_CONTROL_ERROR, "The connection's window must be less than 2^31.")
        self.flush()

    def widen_stream(self, stream: StreamOutflow, increment: int) -> None:
        """The client takes more on one stream.

        Raises:
            Http2StreamError: More than there can be, or nothing.
        """
        if not increment:
            raise Http2StreamError(ErrorCode.PROTOCOL_ERROR)
        stream.window += increment
        if stream.window > MAX_WINDOW:
            raise Http2StreamError(ErrorCode.FLOW_CONTROL_ERROR)
        if stream.busy:
            self._enqueue(stream)
            self.flush()

    def resize(self, streams: Iterable[StreamOutflow], initial_window: int) -> None:
        """The client says what it takes on each stream before it says more, on those that are open too.

        Raises:
            Http2ConnectionError: More than there can be on one of them.
        """
        change = initial_window - self.initial_window
        self.initial_window = initial_window
        for stream in streams:
            stream.window += change  # may fall below 0
            if stream.window > MAX_WINDOW:
                raise Http2ConnectionError(ErrorCode.FLOW_CONTROL_ERROR, "A stream's window must be less than 2^31.")
            if stream.busy:
                self._enqueue(stream)
        self.flush()

    def resume(self) -> None:
        """The socket takes bytes again."""
        self.paused = False
        self.flush()

    def limit_frames(self, max_frame_bytes: int) -> None:
        """The client says how large a frame may be."""
        self.max_frame_bytes = min(max_frame_bytes, _MAX_SENT_FRAME_BYTES)

    def _enqueue(self, stream: StreamOutflow) -> None:
        if not stream.queued:
            stream.queued = True
            self._queue.append(stream)

    def _send_data(self, stream: StreamOutflow, size: int) -> None:
        self.write(frame_head(size, Kind.DATA, 0, stream.stream_id))
        self.write(stream.data[:size])
        stream.data = stream.data[size:]
        self.num_sent += 1
        self.window -= size
        stream.window -= size
        if stream.data:
            self._moved(stream.stream_id)
