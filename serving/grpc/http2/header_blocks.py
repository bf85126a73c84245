"""Header blocks (HPACK, RFC 7541): decoded once while they repeat, and encoded without a state."""

from collections.abc import Iterable, Sequence
from typing import Any

from hpack import Decoder, Encoder, HPACKError, OversizedHeaderListError
from hpack.table import HeaderTable

from serving.grpc.http2.errors import ErrorCode, Http2ConnectionError, enhance_your_calm

Header = tuple[bytes, bytes]

MAX_HEADER_LIST_BYTES = 1 << 16
"""Beyond it nothing is decoded: a block of 16 KiB may stand for 64 MiB of headers."""

_MOST_BLOCKS = 16
_MAX_BLOCK_BYTES = 1024

NO_TABLE = b"\x20"
"""At the start of a block: its writer keeps no table."""


class _NotedTable(HeaderTable):
    """Notes whether the client's encoder has changed its table."""

    changed = False

    def add(self, name: bytes, value: bytes) -> None:
        self.changed = True
        super().add(name, value)

    @property
    def maxsize(self) -> int:
        return super().maxsize

    @maxsize.setter
    def maxsize(self, newmax: int) -> None:
        self.changed = True
        HeaderTable.maxsize.fset(self, newmax)  # type: ignore[attr-defined]  # a property's setter


class HeaderDecoder:
    """Decodes the header blocks of one connection.

    The calls of a client repeat their headers. What a block means depends on its bytes and on the table; as long as no
    block changes the table, equal bytes mean the same and are decoded once.
    """

    def __init__(self) -> None:
        self._decoder = Decoder(MAX_HEADER_LIST_BYTES)
        self._table = self._decoder.header_table = _NotedTable()
        self._known: dict[bytes, Any] = {}

    def known(self, block: bytes) -> Any:
        """What was remembered of a block; None where there is nothing."""
        return self._known.get(block)

    def decode(self, block: bytes) -> Sequence[Header]:
        """The headers of a block; every block must go through this or be `known`.

        Raises:
            Http2ConnectionError: It can't be decoded, and nor can anything after it.
        """
        self._table.changed = False
        try:
            headers: Sequence[Header] = self._decoder.decode(block, raw=True)  # type: ignore[assignment]
        except OversizedHeaderListError:
            raise enhance_your_calm(f"Headers may be {MAX_HEADER_LIST_BYTES} bytes. Received: more.") from None
        except HPACKError as error:
            raise Http2ConnectionError(ErrorCode.COMPRESSION_ERROR, str(error)) from error
        if self._table.changed:
            self._known.clear()
        return headers

    def remember(self, block: bytes, meaning: object) -> None:
        """Keeps what was made of the block that was decoded last, until the table changes."""
        if self._table.changed or len(block) > _MAX_BLOCK_BYTES:
            return
        if len(self._known) == _MOST_BLOCKS:
            self._known.clear()
        self._known[block] = meaning


def encode_headers(headers: Iterable[Header]) -> bytes:
    """A block that leaves the client's table as it is, so that it holds on every connection."""
    block = b""
    for name, value in headers:
        # hpack adds to its table what isn't marked sensitive, and has one field for ":status: 200".
        block += Encoder().encode([(name, value, name != b":status")], huffman=False)
    return block
