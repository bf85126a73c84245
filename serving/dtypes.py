"""TensorFlow's names of NumPy's dtypes, as its error texts use them."""

import numpy as np

_NAMES = {
    "float16": "half",
    "float32": "float",
    "float64": "double",
    "object": "string",
}


def name_dtype(dtype: np.dtype) -> str:
    """TensorFlow's name, as `float` for float32; NumPy's own where they agree, as `int32`."""
    return _NAMES.get(dtype.name, dtype.name)
