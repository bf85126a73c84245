"""Compressed replies, for clients that ask for one coding."""

import asyncio
import zlib

# Level 1: floats hardly compress, and every further level costs more than it saves.
_LEVEL = 1
_WINDOW_BITS = {"gzip": 16 + zlib.MAX_WBITS, "deflate": zlib.MAX_WBITS}

# Below this a thread costs more than the compression holds up the event loop.
_THREAD_FROM_BYTES = 1 << 16


def choose_coding(accept_encoding: str) -> str:
    """The coding that the client wants the reply in; empty: none.

    It counts as wanted when it is the only one named, as in `Accept-Encoding: gzip`, which is what Triton's client
    sends where its user asks for it. A list is what HTTP libraries send with every request, to say what they could
    read: compressing tensors for them would cost both sides more than the bytes do.
    """
    coding, _, parameters = accept_encoding.strip().lower().partition(";")
    refused = parameters.replace(" ", "") in ("q=0", "q=0.0", "q=0.00", "q=0.000")
    return "" if refused or coding.strip() not in _WINDOW_BITS else coding.strip()


async def compress(body: bytes, coding: str) -> bytes:
    """The body in a coding; `deflate` is zlib's format, as HTTP has it."""
    if len(body) < _THREAD_FROM_BYTES:
        return _compress(body, coding)
    return await asyncio.to_thread(_compress, body, coding)


def _compress(body: bytes, coding: str) -> bytes:
    compressor = zlib.compressobj(_LEVEL, zlib.DEFLATED, _WINDOW_BITS[coding])
    return compressor.compress(body) + compressor.flush()
