"""gRPC's messages: five bytes before each, which say whether it is compressed and how long it is."""

import struct
import zlib

from serving.errors import Code, ServingError

IDENTITY, GZIP, DEFLATE = "identity", "gzip", "deflate"
ACCEPTED = (IDENTITY, DEFLATE, GZIP)

_PREFIX = struct.Struct(">BL")
# zlib's window bits, which say which of its formats is meant.
_WINDOW_BITS = {GZIP: 31, DEFLATE: 15}


class MessageReader:
    """Puts the messages of a stream together from the pieces that arrive.

    Args:
        encoding: How the client says that messages may be compressed.
        max_bytes: Size of a message as sent; None: no limit.
    """

    def __init__(self, encoding: str, max_bytes: int | None) -> None:
        self._encoding = encoding
        self._max_bytes = max_bytes
        # Pieces of one byte each would take fifty times their size as a list.
        self._buffer: bytes | bytearray = b""
        self._expected = 0
        self._compressed = False

    @property
    def size(self) -> int:
        """Bytes of the message that is arriving, so far."""
        return len(self._buffer)

    def feed(self, piece: bytes) -> list[tuple[bool, bytes]]:
        """The messages that are complete now: whether each is compressed, and its bytes.

        Raises:
            ServingError: A message is too large, or compressed in a way that nobody announced.
        """
        if not self._buffer:
            self._buffer = piece
        else:
            if not isinstance(self._buffer, bytearray):
                self._buffer = bytearray(self._buffer)
            self._buffer += piece
        if len(self._buffer) < (self._expected or _PREFIX.size):
            return []
        data = memoryview(self._buffer)
        messages, position = [], 0
        self._expected = 0
        while len(data) - position >= _PREFIX.size:
            size = self._read_prefix(data, position)
            end = position + _PREFIX.size + size
            if end > len(data):
                self._expected = end - position
                break
            messages.append((self._compressed, bytes(data[position + _PREFIX.size : end])))
            position = end
        self._buffer = bytes(data[position:])
        return messages

    def close(self) -> None:
        """No more will arrive.

        Raises:
            ServingError: A message is incomplete.
        """
        if self._buffer:
            raise ServingError(Code.INTERNAL, "The request ended in the middle of a message.")

    def clear(self) -> None:
        """Forgets the message that is arriving."""
        self._buffer = b""

    def _read_prefix(self, data: memoryview, position: int) -> int:
        flag, size = _PREFIX.unpack_from(data, position)
        if flag > 1:
            raise ServingError(Code.INTERNAL, f"A message's first byte must be 0 or 1. Received: {flag}.")
        if flag and self._encoding == IDENTITY:
            raise ServingError(Code.INTERNAL, "A message is compressed, and `grpc-encoding` doesn't say how.")
        check_size(size, self._max_bytes, "Received message")
        self._compressed = bool(flag)
        return int(size)


def check_size(size: int, max_bytes: int | None, what: str) -> None:
    """Refuses a message that is too large, in grpcio's words.

    Raises:
        ServingError: RESOURCE_EXHAUSTED.
    """
    if max_bytes is not None and size > max_bytes:
        raise ServingError(Code.RESOURCE_EXHAUSTED, f"{what} larger than max ({size} vs. {max_bytes})")


def check_encoding(encoding: str) -> None:
    """Refuses messages in a compression that isn't spoken here.

    Raises:
        ServingError: UNIMPLEMENTED.
    """
    if encoding not in ACCEPTED:
        raise ServingError(
            Code.UNIMPLEMENTED, f"Messages may be compressed by {' or '.join(ACCEPTED[1:])}. Received: {encoding!r}."
        )


def inflate(content: bytes, encoding: str, max_bytes: int | None) -> bytes:
    """A message as it was before it was compressed.

    Raises:
        ServingError: It is larger than may be, or broken.
    """
    inflater = zlib.decompressobj(_WINDOW_BITS[encoding])
    try:
        inflated = inflater.decompress(content, 0 if max_bytes is None else max_bytes + 1)
    except zlib.error as error:
        raise ServingError(Code.INTERNAL, f"A message isn't the {encoding} that it says it is: {error}.") from error
    if max_bytes is not None and len(inflated) > max_bytes:
        raise ServingError(Code.RESOURCE_EXHAUSTED, f"Decompressed message larger than max ({max_bytes})")
    if not inflater.eof or inflater.unused_data:
        raise ServingError(Code.INTERNAL, f"A message isn't one piece of {encoding}.")
    return inflated


def message_prefix(size: int) -> bytes:
    """What stands before a message that isn't compressed."""
    return _PREFIX.pack(0, size)
