"""Arrays in JSON lines, so that every value comes back as it was."""

import base64
from collections.abc import Mapping
from typing import Any

import numpy as np

Arrays = Mapping[str, np.ndarray]


def array_to_json(array: np.ndarray) -> dict[str, Any]:
    """An array as `{"dtype", "shape", "data"}`, for `orjson.dumps` with `OPT_SERIALIZE_NUMPY`.

    `data` is a nested list. JSON has no NaN, no infinity and no complex numbers: an array with one of those has
    `base64` in its place, its bytes in little-endian order.

    Args:
        array: Any dtype; strings as an object array of bytes.
    """
    described: dict[str, Any] = {"dtype": _name(array.dtype), "shape": array.shape}
    if array.dtype.kind in "OSU":
        return {**described, "data": _strings(array.tolist())}
    if array.dtype.kind in "biu" or (array.dtype.kind == "f" and bool(np.isfinite(array).all())):
        return {**described, "data": _plain(array) if array.size and array.ndim else array.tolist()}
    content = array.astype(array.dtype.newbyteorder("<"), copy=False).tobytes()
    return {**described, "base64": base64.b64encode(content).decode()}


def array_from_json(described: Mapping[str, Any]) -> np.ndarray:
    """The array that `array_to_json` wrote.

    Raises:
        KeyError, TypeError, ValueError: It did not write this.
    """
    shape = tuple(described["shape"])
    if described["dtype"] == "string":
        array = np.empty(int(np.prod(shape, dtype=np.int64)), object)
        array[:] = list(_bytes(described["data"]))
        return array.reshape(shape)
    dtype = _dtype(described["dtype"])
    if "base64" in described:
        content = base64.b64decode(described["base64"], validate=True)
        return np.frombuffer(content, dtype.newbyteorder("<")).astype(dtype).reshape(shape)
    return np.array(described["data"], dtype).reshape(shape)


def num_bytes(arrays: Arrays) -> int:
    """Bytes that arrays take, strings roughly."""
    return sum(
        [
            array.nbytes if array.dtype != object else 8 * array.size + sum(map(len, array.flat))
            for array in arrays.values()
        ]
    )


def _plain(array: np.ndarray) -> np.ndarray:
    """What orjson takes: contiguous, in the machine's byte order."""
    return np.ascontiguousarray(array, array.dtype.newbyteorder("="))


def _name(dtype: np.dtype) -> str:
    return "string" if dtype.kind in "OSU" else dtype.name


def _dtype(name: str) -> np.dtype:
    if name == "bfloat16":
        import ml_dtypes

        return np.dtype(ml_dtypes.bfloat16)
    return np.dtype(name)


def _strings(item: Any) -> Any:
    if isinstance(item, list):
        return [_strings(each) for each in item]
    if isinstance(item, bytes):
        try:
            return item.decode()
        except UnicodeDecodeError:
            return {"b64": base64.b64encode(item).decode()}
    return str(item)


def _bytes(item: Any) -> Any:
    if isinstance(item, list):
        for each in item:
            yield from _bytes(each)
    else:
        yield base64.b64decode(item["b64"], validate=True) if isinstance(item, dict) else item.encode()
