"""A header block that arrives in several frames."""

from serving.grpc.http2.errors import enhance_your_calm, protocol_error
from serving.grpc.http2.frames import END_HEADERS, END_STREAM, Frame, unpadded
from serving.grpc.http2.header_blocks import MAX_HEADER_LIST_BYTES

_MOST_FRAMES = 64


class IncomingHeaders:
    """HEADERS and the CONTINUATION that follow it.

    Args:
        first: HEADERS.
    """

    def __init__(self, first: Frame) -> None:
        self.stream_id = first.stream_id
        self.is_last = bool(first.flags & END_STREAM)
        self.is_complete = bool(first.flags & END_HEADERS)
        self.block = unpadded(first)
        self._num_frames = 1

    def add(self, frame: Frame) -> None:
        """Takes a CONTINUATION.

        Raises:
            Http2ConnectionError: It belongs to another stream, or there are too many.
        """
        if frame.stream_id != self.stream_id:
            raise protocol_error("CONTINUATION belongs to another stream than the HEADERS before it.")
        self._num_frames += 1
        self.block += frame.payload
        self.is_complete = bool(frame.flags & END_HEADERS)
        if self._num_frames > _MOST_FRAMES or len(self.block) > MAX_HEADER_LIST_BYTES:
            raise enhance_your_calm(
                f"Headers may come in {_MOST_FRAMES} frames of {MAX_HEADER_LIST_BYTES} bytes. Received: more."
            )
