import ml_dtypes
import numpy as np
import orjson
import pytest

from serving.logs.arrays import array_from_json, array_to_json, num_bytes

EXTREMES = np.array([[0.1, -0.0, 1e-45], [3.4028235e38, 1 / 3, 16777217]], np.float32)


def there_and_back(array: np.ndarray) -> np.ndarray:
    return array_from_json(orjson.loads(orjson.dumps(array_to_json(array), option=orjson.OPT_SERIALIZE_NUMPY)))


@pytest.mark.parametrize(
    "array",
    [
        EXTREMES,
        EXTREMES.T,
        EXTREMES.astype(np.float64) / 3,
        np.array([np.nan, np.inf, -np.inf, 1.5], np.float32),
        np.array([1.5, -2], np.float16),
        np.array([1.5, np.nan], ml_dtypes.bfloat16),
        np.array([1 + 2j], np.complex64),
        np.array([2**63 - 1, -(2**63)], np.int64),
        np.array([2**64 - 1], np.uint64),
        np.array([-128, 127], np.int8),
        np.array([[True], [False]]),
        np.array(2.5, np.float32),
        np.zeros((0, 4), np.float32),
        np.zeros((2, 0), np.int32),
        np.arange(3, dtype=">f4"),
        np.array([[b"text", "é".encode()], [b"\xff\x00", b""]], object),
        np.array(b"scalar", object),
    ],
    ids=lambda array: f"{array.dtype}{array.shape}",
)
def test_every_value_comes_back(array):
    back = there_and_back(array)
    assert back.dtype == array.dtype.newbyteorder("=")
    assert back.shape == array.shape
    if array.dtype == object:
        assert back.tolist() == array.tolist()
    else:
        assert back.tobytes() == np.ascontiguousarray(array, array.dtype.newbyteorder("=")).tobytes()


def test_numbers_are_readable():
    assert orjson.loads(
        orjson.dumps(array_to_json(np.array([[0.1]], np.float32)), option=orjson.OPT_SERIALIZE_NUMPY)
    ) == {
        "dtype": "float32",
        "shape": [1, 1],
        "data": [[0.1]],
    }


def test_the_size_of_arrays_is_known():
    assert num_bytes({"x": np.zeros((2, 3), np.float32), "s": np.array([b"abc", b""], object)}) == 24 + 2 * 8 + 3
