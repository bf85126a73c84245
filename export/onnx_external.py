"""The big constants of a bundle's ONNX files in one file beside them (ONNX's external data).

What two graphs read, the forward weights above all, is stored once, and a file of external data is mapped, not read:
both sessions of a server see the same pages of memory. A protocol buffer can't hold 2 GiB; this file can.
"""

import hashlib
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self, final

import numpy as np
import onnx

WEIGHTS_FILE = "weights.bin"

# Smaller ones stay in the graph.
MIN_BYTES = 1 << 14
# A model with less than this is one self-contained file: sharing would save nothing that anybody notices.
MIN_MODEL_BYTES = 16 << 20
# A page of memory: what is mapped begins at one.
_ALIGNMENT = 1 << 12


@final
class WeightsFile:
    """Takes constants; each content is written once. Made when the first comes, and complete when the block is left.

    Args:
        path: The file, beside the ONNX files that refer to it by its name.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: IO[bytes] | None = None
        self._places: dict[bytes, tuple[int, int]] = {}

    def tensor(self, name: str, value: np.ndarray) -> Any:
        """An ONNX tensor that refers to the value in the file.

        Args:
            name: Its name in the graph.
            value: An array of numbers.
        """
        data = np.ascontiguousarray(value)
        tensor = onnx.TensorProto(
            name=name,
            data_type=onnx.helper.np_dtype_to_tensor_dtype(data.dtype),
            dims=data.shape,
            data_location=onnx.TensorProto.EXTERNAL,
        )
        offset, length = self._place(data.reshape(-1).view(np.uint8))
        for key, entry in (("location", self._path.name), ("offset", offset), ("length", length)):
            tensor.external_data.add(key=key, value=str(entry))
        return tensor

    def take_from(self, model: Any) -> None:
        """Moves the big constants of a model's main graph into the file, if it has enough of them.

        Args:
            model: An ONNX model, changed in place.
        """
        big = [tensor for tensor in model.graph.initializer if _is_big(tensor)]
        if sum(len(tensor.raw_data) for tensor in big) < MIN_MODEL_BYTES:
            return
        for tensor in big:
            tensor.CopyFrom(self.tensor(tensor.name, onnx.numpy_helper.to_array(tensor)))

    def value(self, tensor: Any) -> np.ndarray:
        """What an ONNX tensor holds, read from the file if it is there."""
        self.flush()
        value: np.ndarray = onnx.numpy_helper.to_array(tensor, str(self._path.parent))
        return value

    def flush(self) -> None:
        """Makes what was taken readable for others."""
        if self._file is not None:
            self._file.flush()

    def _place(self, content: np.ndarray) -> tuple[int, int]:
        """Offset and length of the bytes in the file, written unless they are there."""
        key = hashlib.sha256(content.data).digest()
        if key not in self._places:
            if self._file is None:
                self._file = self._path.open("wb")
            self._file.write(bytes(-self._file.tell() % _ALIGNMENT))
            self._places[key] = self._file.tell(), len(content)
            self._file.write(content.data)
        return self._places[key]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._file is not None:
            self._file.close()


def _is_big(tensor: Any) -> bool:
    return bool(tensor.HasField("raw_data") and len(tensor.raw_data) >= MIN_BYTES)
