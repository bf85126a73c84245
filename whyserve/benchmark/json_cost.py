"""What it costs to read a tensor out of a request: JSON text against bytes."""

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import orjson

from serving.grpc.tensors import decode_tensor, encode_tensor
from serving.protos.predict_pb2 import PredictRequest
from serving.rest.decode import Body
from serving.types import TensorInfo

IMAGE = (1, 224, 224, 3)
_REPEATS = 7
_NAME = "image"


@dataclass(frozen=True)
class Parsing:
    """Reading one tensor out of a request.

    Attributes:
        what: How the tensor is written.
        shape: The tensor's, float32.
        size_mb: The body's, 10^6 bytes.
        parse_ms: Milliseconds from the body to the array, median.
    """

    what: str
    shape: tuple[int, ...]
    size_mb: float
    parse_ms: float


def measure_parsing(shape: tuple[int, ...] = IMAGE) -> list[Parsing]:
    """Times the server's own parsers on an image of random pixels.

    Args:
        shape: The tensor's, batch first.

    Returns:
        JSON of pixels as integers, of float32 and of float64 digits, orjson's and NumPy's part of the latter, and gRPC.
    """
    generator = np.random.default_rng(0)
    pixels = generator.integers(0, 256, shape)
    scaled = generator.random(shape)
    texts = {
        "REST, pixels as integers": _body(pixels),
        "REST, float32": _body(scaled.astype(np.float32)),
        "REST, float64": _body(scaled),
    }
    cases: list[tuple[str, bytes, Callable[[bytes], object]]] = [(what, body, _read) for what, body in texts.items()]
    cases.append(("  orjson and NumPy alone, float64", texts["REST, float64"], _read_plainly))
    cases.append(("gRPC, tensor_content", _message(scaled.astype(np.float32)), _read_message))
    return [Parsing(what, shape, len(body) / 1e6, _median_ms(read, body)) for what, body, read in cases]


def _body(array: np.ndarray) -> bytes:
    return orjson.dumps({"instances": array}, option=orjson.OPT_SERIALIZE_NUMPY)


def _read(body: bytes) -> np.ndarray:
    _, inputs = Body.parse(body).inputs({_NAME: TensorInfo(_NAME, np.dtype(np.float32), (None, *IMAGE[1:]))})
    return inputs[_NAME]


def _read_plainly(body: bytes) -> np.ndarray:
    return np.array(orjson.loads(body)["instances"], np.float32)


def _message(array: np.ndarray) -> bytes:
    request = PredictRequest()
    encode_tensor(array, request.inputs[_NAME], tensor_content=True)
    return request.SerializeToString()


def _read_message(content: bytes) -> np.ndarray:
    return decode_tensor(PredictRequest.FromString(content).inputs[_NAME], _NAME)


def _median_ms(read: Callable[[bytes], object], body: bytes) -> float:
    times = []
    for _ in range(_REPEATS):
        start = time.perf_counter()
        read(body)
        times.append(time.perf_counter() - start)
    return 1000 * statistics.median(times)
