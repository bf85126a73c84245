"""TFRecord files without TensorFlow: a length, the record and a masked CRC-32C of each.

The format is the one of TensorFlow's `tf.io.TFRecordWriter`: for each record its length (uint64), the masked checksum
of the length (uint32), the bytes, the masked checksum of the bytes (uint32), all little-endian.
"""

import functools
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import numpy as np

from serving.errors import Code, ServingError

_HEADER = struct.Struct("<QI")
_CHECKSUM = struct.Struct("<I")
_POLYNOMIAL = 0x82F63B78  # Castagnoli's, reflected
_MASK_DELTA = 0xA282EAD8
_BLOCK = 512
"""Bytes that one step of the checksum takes; the table has as many rows."""


def crc32c(content: bytes) -> int:
    """The CRC-32C of bytes (RFC 3720, appendix B.4).

    A checksum is linear over GF(2): that of a block is the exclusive or of what each of its bytes gives, looked up by
    the byte and its distance from the end. Python's own `zlib.crc32` has another polynomial.
    """
    table = _table()
    checksum = 0xFFFFFFFF
    for start in range(0, len(content), _BLOCK):
        block = np.frombuffer(content, np.uint8, min(_BLOCK, len(content) - start), start).astype(np.intp)
        size = block.size
        carried = np.frombuffer(_CHECKSUM.pack(checksum), np.uint8)[:size]
        block[: carried.size] ^= carried
        checksum = int(np.bitwise_xor.reduce(table[np.arange(size - 1, -1, -1), block])) ^ (
            checksum >> (8 * size) if size < 4 else 0
        )
    return checksum ^ 0xFFFFFFFF


def encode_record(content: bytes) -> bytes:
    """A record with its length and checksums, as it stands in a file."""
    length = struct.pack("<Q", len(content))
    return b"".join([length, _CHECKSUM.pack(_mask(crc32c(length))), content, _CHECKSUM.pack(_mask(crc32c(content)))])


def read_records(path: Path) -> Iterator[bytes]:
    """The records of a file, one by one.

    Raises:
        ServingError: DATA_LOSS where a checksum is wrong or the file ends within a record.
    """
    with path.open("rb") as file:
        size, position = path.stat().st_size, 0
        while header := file.read(_HEADER.size):
            record = _read_record(file, header, size - position)
            if record is None:
                raise ServingError(
                    Code.DATA_LOSS,
                    f"{path} must be a TFRecord. Received: a record at byte {position} that is cut off or whose "
                    "checksum is wrong. Write the file again.",
                )
            position += _HEADER.size + len(record) + _CHECKSUM.size
            yield record


def intact_size(path: Path) -> int:
    """The bytes of a file up to the first record that is cut off: where a writer that died may go on."""
    size, position = path.stat().st_size, 0
    with path.open("rb") as file:
        while len(header := file.read(_HEADER.size)) == _HEADER.size:
            length, checksum = _HEADER.unpack(header)
            end = position + _HEADER.size + length + _CHECKSUM.size
            if end > size or checksum != _mask(crc32c(header[:8])):
                break
            file.seek(end)
            position = end
    return position


def _read_record(file: BinaryIO, header: bytes, left: int) -> bytes | None:
    if len(header) < _HEADER.size:
        return None
    length, checksum = _HEADER.unpack(header)
    # The length is believed only where its own checksum is right: a damaged one could ask for any amount of memory.
    if checksum != _mask(crc32c(header[:8])) or length > left:
        return None
    content, trailer = file.read(length), file.read(_CHECKSUM.size)
    if len(trailer) < _CHECKSUM.size or _CHECKSUM.unpack(trailer)[0] != _mask(crc32c(content)):
        return None
    return content


def _mask(checksum: int) -> int:
    """TensorFlow stores checksums rotated and shifted: the checksum of data that holds checksums would be poor."""
    return (((checksum >> 15) | (checksum << 17)) + _MASK_DELTA) & 0xFFFFFFFF


@functools.cache
def _table() -> np.ndarray:
    """(distance from the end, byte) uint32: what a byte followed by so many others gives."""
    rows = np.empty((_BLOCK, 256), np.uint32)
    rows[0] = np.arange(256)
    for _ in range(8):
        rows[0] = (rows[0] >> 1) ^ np.where(rows[0] & 1, np.uint32(_POLYNOMIAL), np.uint32(0))
    for distance in range(1, _BLOCK):
        rows[distance] = (rows[distance - 1] >> 8) ^ rows[0][rows[distance - 1] & 0xFF]
    return rows
