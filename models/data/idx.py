"""Reader of the idx format, in which MNIST and its likes are published (LeCun, http://yann.lecun.com/exdb/mnist)."""

import gzip
import struct
import zlib
from pathlib import Path

import numpy as np
import numpy.typing as npt

from models.errors import DataSetCorruptError

UNSIGNED_BYTE = 0x08


def read_idx(path: Path, num_dimensions: int) -> npt.NDArray[np.uint8]:
    """Reads a gzipped idx file of unsigned bytes.

    The layout: two zero bytes, the code of the type, the number of dimensions, each dimension as a big-endian 32-bit
    integer, then the values in C order.

    Args:
        path: The `.gz` file.
        num_dimensions: 1 for labels, 3 for images.

    Returns:
        An array `(examples, ...) uint8`.

    Raises:
        DataSetCorruptError: It is no such file, or ends too early.
    """
    try:
        content = gzip.decompress(path.read_bytes())
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise DataSetCorruptError(
            f"{path} must be a whole gzip file. Received: {error}. Delete it, so that it is downloaded again."
        ) from error
    header = bytes([0, 0, UNSIGNED_BYTE, num_dimensions])
    start = 4 + 4 * num_dimensions
    if content[:4] != header or len(content) < start:
        raise DataSetCorruptError(
            f"{path} must be an idx file of unsigned bytes with {num_dimensions} dimensions, which begins with "
            f"{header.hex()}. Received: {content[:4].hex()}."
        )
    shape = struct.unpack(f">{num_dimensions}I", content[4:start])
    expected = int(np.prod(shape))
    if len(content) - start != expected:
        raise DataSetCorruptError(
            f"{path} must hold {expected} values, its dimensions being {shape}. Received: {len(content) - start}. "
            "Delete it, so that it is downloaded again."
        )
    return np.frombuffer(content, np.uint8, offset=start).reshape(shape)
