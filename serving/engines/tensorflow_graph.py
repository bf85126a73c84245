"""A SavedModel in a session of TensorFlow's C API, as TensorFlow Serving holds it."""

import contextlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from ctypes import Array, c_char_p, c_void_p, string_at
from pathlib import Path
from typing import Any

import numpy as np

from serving.engines.tensorflow_library import Output, TensorFlowError, load_library, raising
from serving.engines.tensorflow_tensors import to_array, to_tensor


def load_graph(path: Path, tags: Sequence[str], config: bytes) -> tuple["TensorFlowGraph", bytes]:
    """Loads a SavedModel's graph, restores its variables and initialises it.

    Args:
        path: The SavedModel's folder.
        tags: Tags of the graph to load.
        config: A serialized `ConfigProto`.

    Returns:
        The graph, and its serialized `MetaGraphDef`.

    Raises:
        TensorFlowError: It can't be loaded.
    """
    library = load_library()
    graph, options = c_void_p(library.TF_NewGraph()), c_void_p(library.TF_NewSessionOptions())
    meta_graph = library.TF_NewBuffer()
    try:
        with raising() as status:
            library.TF_SetConfig(options, config, len(config), status)
        with raising() as status:
            names = (c_char_p * len(tags))(*(tag.encode() for tag in tags))
            session = library.TF_LoadSessionFromSavedModel(
                options, None, str(path).encode(), names, len(tags), graph, meta_graph, status
            )
        return TensorFlowGraph(graph, c_void_p(session)), string_at(
            meta_graph.contents.data, meta_graph.contents.length
        )
    except TensorFlowError:
        library.TF_DeleteGraph(graph)
        raise
    finally:
        library.TF_DeleteBuffer(meta_graph)
        library.TF_DeleteSessionOptions(options)


class TensorFlowGraph:
    """A graph and the session that runs it.

    Args:
        graph: A `TF_Graph`, which now belongs to this object.
        session: Its `TF_Session`, likewise.
    """

    def __init__(self, graph: c_void_p, session: c_void_p) -> None:
        self._library = load_library()
        self._graph = graph
        self._session = session
        self._found: dict[tuple[str, ...], Array[Output]] = {}

    def devices(self) -> dict[str, str]:
        """The type of each device that the session may use, by the device's name."""
        library = self._library
        with raising() as status:
            devices = c_void_p(library.TF_SessionListDevices(self._session, status))
        try:
            found = {}
            for index in range(library.TF_DeviceListCount(devices)):
                with raising() as status:
                    name = library.TF_DeviceListName(devices, index, status).decode()
                with raising() as status:
                    found[name] = library.TF_DeviceListType(devices, index, status).decode()
            return found
        finally:
            library.TF_DeleteDeviceList(devices)

    def data_type(self, tensor_name: str) -> int:
        """TensorFlow's number of the type of a tensor.

        Raises:
            KeyError: The graph has no such tensor.
        """
        return int(self._library.TF_OperationOutputType(self._find(tensor_name)))

    def run(self, feeds: Mapping[str, np.ndarray], fetches: Sequence[str]) -> list[np.ndarray]:
        """Computes tensors; may be called from several threads at once.

        Args:
            feeds: Arrays by the names of the tensors that they take the place of.
            fetches: Names of the tensors to compute.

        Raises:
            KeyError: The graph has no such tensor.
            TensorFlowError: The run failed.
            ServingError: TensorFlow has no tensors of an array's dtype.
            TypeError: NumPy has no arrays of a tensor's type.
        """
        library = self._library
        sources, targets = self._outputs(tuple(feeds)), self._outputs(tuple(fetches))
        results: Any = (c_void_p * len(targets))()
        with _tensors(feeds.values()) as tensors, raising() as status:
            library.TF_SessionRun(
                *(self._session, None),
                *(sources, (c_void_p * len(tensors))(*tensors), len(tensors)),
                *(targets, results, len(targets)),
                *(None, 0, None, status),
            )
        try:
            return [to_array(result) for result in results]
        finally:
            for result in results:
                library.TF_DeleteTensor(result)

    def close(self) -> None:
        """Lets go of the variables and of the graph; nothing may run any more."""
        with contextlib.suppress(TensorFlowError), raising() as status:
            self._library.TF_CloseSession(self._session, status)
        with contextlib.suppress(TensorFlowError), raising() as status:
            self._library.TF_DeleteSession(self._session, status)
        self._library.TF_DeleteGraph(self._graph)

    def _outputs(self, tensor_names: tuple[str, ...]) -> Array[Output]:
        outputs = self._found.get(tensor_names)
        if outputs is None:
            found = [self._find(tensor_name) for tensor_name in tensor_names]
            outputs = self._found[tensor_names] = (Output * len(found))(*found)
        return outputs

    def _find(self, tensor_name: str) -> Output:
        name, _, number = tensor_name.partition(":")
        operation = self._library.TF_GraphOperationByName(self._graph, name.encode())
        index = int(number) if number.isdecimal() else -1 if number else 0
        # TensorFlow ends the process over an output that isn't there.
        if operation is None or not 0 <= index < self._library.TF_OperationNumOutputs(operation):
            raise KeyError(tensor_name)
        return Output(operation, index)


@contextlib.contextmanager
def _tensors(arrays: Iterable[np.ndarray]) -> Iterator[list[int]]:
    tensors: list[int] = []
    try:
        tensors.extend(to_tensor(array) for array in arrays)  # those before one that is refused are in the list
        yield tensors
    finally:
        for tensor in tensors:
            load_library().TF_DeleteTensor(tensor)
