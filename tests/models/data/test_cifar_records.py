from pathlib import Path

import numpy as np
import pytest

from models.data.cifar_records import parse_records
from models.errors import DataSetCorruptError
from tests.models.data.files import cifar_records

PATH = Path("somewhere/data_batch_1.bin")


def test_planes_become_channels():
    examples = parse_records(cifar_records(12, first_label=3), PATH, 10)
    np.testing.assert_array_equal(examples.labels, [3, 4, 5, 6, 7, 8, 9, 0, 1, 2, 3, 4])
    assert examples.images.shape == (12, 32, 32, 3)
    np.testing.assert_array_equal(examples.images[5, 0, 0], [200, 6, 7])
    np.testing.assert_array_equal(examples.images[5, 31, 31], [5, 6, 7])


def test_rows_come_before_columns():
    # Byte 1 + 32 of a record is the second row's first red pixel.
    record = bytearray(3073)
    record[1 + 32] = 9
    np.testing.assert_array_equal(parse_records(bytes(record), PATH, 10).images[0, 1, 0], [9, 0, 0])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"\0" * 3074, r"data_batch_1.bin must hold records of 3073 bytes .*Received: 3074 bytes, 1 too many\."),
        (b"", "must hold at least one example. Received: none"),
        (b"\x0a" + b"\0" * 3072, r"must hold labels from 0 to 9. Received: 10 to 10\."),
    ],
)
def test_another_layout_is_refused(content, message):
    with pytest.raises(DataSetCorruptError, match=message):
        parse_records(content, PATH, 10)
