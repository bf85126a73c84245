import asyncio
import gzip
import zlib

import pytest

from serving.rest.v2.compression import choose_coding, compress


@pytest.mark.parametrize(
    ("header", "coding"),
    [
        ("gzip", "gzip"),
        (" Deflate ", "deflate"),
        ("gzip;q=0.5", "gzip"),
        ("gzip; q=0", ""),
        ("", ""),
        ("br", ""),
        ("*", ""),
        ("gzip, deflate", ""),
        ("identity", ""),
    ],
)
def test_only_a_client_that_names_one_coding_has_asked_for_it(header: str, coding: str) -> None:
    assert choose_coding(header) == coding


@pytest.mark.parametrize("size", [0, 10, 1 << 17])
def test_bodies_come_back_whole(size: int) -> None:
    body = b"x" * size
    assert gzip.decompress(asyncio.run(compress(body, "gzip"))) == body
    assert zlib.decompress(asyncio.run(compress(body, "deflate"))) == body
