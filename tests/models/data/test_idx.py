import gzip

import numpy as np
import pytest

from models.data.idx import read_idx
from models.errors import DataSetCorruptError
from tests.models.data.files import write_idx


def test_values_are_read_in_their_order(tmp_path):
    # By hand: type 0x08, 2 dimensions, 2 rows of 3 values.
    content = bytes([0, 0, 8, 2, 0, 0, 0, 2, 0, 0, 0, 3, 1, 2, 3, 4, 5, 255])
    (tmp_path / "a.gz").write_bytes(gzip.compress(content))
    np.testing.assert_array_equal(read_idx(tmp_path / "a.gz", 2), [[1, 2, 3], [4, 5, 255]])


def test_a_truncated_file_is_refused(tmp_path):
    write_idx(tmp_path / "a.gz", np.arange(100))
    (tmp_path / "a.gz").write_bytes((tmp_path / "a.gz").read_bytes()[:-20])
    with pytest.raises(DataSetCorruptError, match=r"a.gz must be a whole gzip file. Received: .*Delete it"):
        read_idx(tmp_path / "a.gz", 1)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", r"begins with 00000803. Received: \."),
        (bytes([0, 0, 8, 1, 0, 0, 0, 0]), r"begins with 00000803. Received: 00000801\."),
        (bytes([0, 0, 8, 3, 0, 0]), r"begins with 00000803. Received: 00000803\."),
        (
            bytes([0, 0, 8, 3, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 2, 7]),
            r"must hold 2 values, .*\(1, 1, 2\). Received: 1\.",
        ),
    ],
)
def test_another_layout_is_refused(tmp_path, content, message):
    (tmp_path / "a.gz").write_bytes(gzip.compress(content))
    with pytest.raises(DataSetCorruptError, match=message):
        read_idx(tmp_path / "a.gz", 3)


def test_what_is_no_gzip_file_is_refused(tmp_path):
    (tmp_path / "a.gz").write_text("<html>not found</html>")
    with pytest.raises(DataSetCorruptError, match="Not a gzipped file"):
        read_idx(tmp_path / "a.gz", 3)
